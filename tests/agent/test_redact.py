"""Masking depends on the bytes alone, and nothing of a secret gets through."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrapod_agent.work.redact import MASK, Redactor, forms

SECRETS = st.lists(st.text("ab", min_size=1, max_size=6).map(str.encode), max_size=3)
TEXT = st.lists(st.text("abc", max_size=6).map(str.encode), max_size=8)


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
