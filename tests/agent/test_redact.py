"""Masking depends on the bytes alone, and nothing of a secret gets through."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrapod_agent.errors import OperationFailed
from terrapod_agent.work.redact import MASK, MOST_FORMS, Redactor, forms, refuse_too_many

SECRETS = st.lists(st.text("ab", min_size=1, max_size=6).map(str.encode), max_size=3)
TEXT = st.lists(st.text("abc", max_size=6).map(str.encode), max_size=8)

# Longer than what the automaton knows of a secret, and mostly made of repetitions.
LONG = st.builds(
    lambda unit, length, end: (unit * length)[:length].encode() + end.encode(),
    st.text("ab", min_size=1, max_size=5),
    st.integers(28, 90),
    st.text("abc", max_size=2),
)
LONG_TEXT = st.lists(LONG | st.text("abc", max_size=40).map(str.encode), max_size=6)


def reference(secrets: list[bytes], text: bytes) -> bytes:
    """What masking means, the slow way: all places where a secret lies, overlapping ones as one."""
    kept = [secret for secret in secrets if len(secret) >= 3]
    places = [
        (start, start + len(secret))
        for start in range(len(text))
        for secret in kept
        if text.startswith(secret, start)
    ]
    out, covered = b"", 0
    for start, end in sorted(places):
        if start >= covered:
            out += text[covered:start] + MASK
        covered = max(covered, end)
    return out + text[covered:]


def masked(secrets: list[bytes], chunks: list[bytes]) -> bytes:
    redactor = Redactor(secrets)
    return b"".join(redactor.feed(chunk) for chunk in chunks) + redactor.finish()


@given(SECRETS, TEXT)
def test_the_cuts_do_not_matter(secrets: list[bytes], chunks: list[bytes]) -> None:
    assert masked(secrets, chunks) == masked(secrets, [b"".join(chunks)])


@given(st.text("ab", min_size=3, max_size=6).map(str.encode), TEXT)
def test_no_secret_is_left(secret: bytes, chunks: list[bytes]) -> None:
    assert secret not in masked([secret], chunks)


@given(SECRETS, TEXT)
def test_what_is_no_secret_stays(secrets: list[bytes], chunks: list[bytes]) -> None:
    text = b"".join(chunks)
    if not any(len(secret) >= 3 and secret in text for secret in secrets):
        assert masked(secrets, chunks) == text


def test_overlapping_secrets_show_nothing() -> None:
    assert masked([b"abcd", b"cdef"], [b"xabc", b"defx"]) == b"x" + MASK + b"x"


def test_what_cannot_be_a_secret_is_not_held_back() -> None:
    redactor = Redactor([b"secret"])
    assert redactor.feed(b"progress... se") == b"progress... "
    assert redactor.feed(b"ttled") == b"settled"


@pytest.mark.parametrize("before", ["", "x", "xy"])
@pytest.mark.parametrize("after", ["", "z", "zz"])
def test_base64_of_a_text_around_a_secret_is_masked(before: str, after: str) -> None:
    secret = "correct horse battery"
    encoded = base64.b64encode(f"{before}{secret}{after}".encode())
    shown = masked(list(forms(secret)), [encoded])
    assert MASK in shown
    assert len(shown.replace(MASK, b"")) <= 10


def test_lines_and_escapes_of_a_value_are_masked() -> None:
    key = 'first line of "key"\nsecond line of key\n'
    found = forms(key)
    assert MASK in masked(list(forms("p&ss<w")), [rb'"p\u0026ss\u003cw"'])
    for shown in (b"  second line of key", rb"first line of \"key\"\nsecond"):
        assert MASK in masked(list(found), [shown])


def test_the_strings_inside_of_hcl_are_masked() -> None:
    found = forms('{ password = "hunter2hunter2" }', hcl=True)
    assert masked(list(found), [b"it is hunter2hunter2!"]) == b"it is ***!"


@given(SECRETS, TEXT)
def test_all_places_are_masked_and_nothing_else(secrets: list[bytes], chunks: list[bytes]) -> None:
    assert masked(secrets, chunks) == reference(secrets, b"".join(chunks))


@given(st.lists(LONG | st.text("ab", max_size=6).map(str.encode), max_size=4), LONG_TEXT)
def test_long_secrets_are_masked_as_short_ones(secrets: list[bytes], chunks: list[bytes]) -> None:
    assert masked(secrets, chunks) == reference(secrets, b"".join(chunks))


@pytest.mark.parametrize("unit", ["x", "abc", "abcdefgh" * 700])
@pytest.mark.parametrize("cut", [1, 4095, 4096, 9000])
def test_a_secret_of_several_steps_is_found_wherever_it_is_cut(unit: str, cut: int) -> None:
    secret = (unit * 10_000)[:10_000].encode()
    text = b"a" + secret[:-1] + b"!" + secret + b"z"
    chunks = [text[at : at + cut] for at in range(0, len(text), cut)]
    assert masked([secret], chunks) == reference([secret], text)


def test_what_may_be_a_long_secret_is_let_go_once_it_is_none() -> None:
    secret = b"y" * 20_000
    redactor = Redactor([secret])
    assert redactor.feed(b"y" * 19_999) == b""
    assert redactor.feed(b"!") == b"y" * 19_999 + b"!"


@pytest.mark.parametrize("letter", ["x", "xy"])
def test_the_work_grows_with_the_text_and_not_with_the_secret_too(letter: str) -> None:
    """Twice the size takes about twice the time: four times would be quadratic."""

    def seconds(size: int) -> float:
        secret = (letter * size)[:size]
        text = f'"{secret}"\n{secret}\n{secret[:-1]}!'.encode()
        began = time.thread_time()
        shown = masked(
            list(forms(secret)), [text[at : at + 65536] for at in range(0, len(text), 65536)]
        )
        assert shown.count(MASK) == 2
        return time.thread_time() - began

    assert seconds(400_000) < 3 * seconds(200_000) + 0.2


def test_more_than_can_be_masked_is_told() -> None:
    refuse_too_many([b"abc"])
    with pytest.raises(OperationFailed, match="too large to be masked"):
        refuse_too_many([b"abc"] * (MOST_FORMS + 1))
    with pytest.raises(OperationFailed, match="too large to be masked"):
        refuse_too_many([b"x" * (33 << 20), b"y" * (33 << 20)])
