"""Key ring, tokens and signed capabilities."""

from __future__ import annotations

import base64
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrapod_control_plane.kernel.crypto.keys import (
    BadToken,
    KeyMissing,
    KeyRing,
    Signer,
    Tampered,
    digest,
    new_token,
    ring_from,
)

RING = KeyRing.generate()
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@given(plain=st.binary(max_size=200), context=st.text(max_size=20))
def test_what_was_sealed_opens_in_its_context(plain: bytes, context: str) -> None:
    assert RING.open(RING.seal(plain, context), context) == plain


@given(data=st.data())
def test_no_changed_bit_goes_unseen(data: st.DataObject) -> None:
    sealed = bytearray(RING.seal(b"the password", "variable var-1"))
    position = data.draw(st.integers(0, len(sealed) - 1))
    sealed[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((Tampered, KeyMissing)):
        RING.open(bytes(sealed), "variable var-1")


@given(data=st.data())
def test_a_value_cut_short_is_tampered(data: st.DataObject) -> None:
    sealed = RING.seal(b"the password", "c")
    with pytest.raises((Tampered, KeyMissing)):
        RING.open(sealed[: data.draw(st.integers(0, len(sealed) - 1))], "c")


def test_another_context_does_not_open() -> None:
    with pytest.raises(Tampered):
        RING.open(RING.seal(b"x", "variable var-1"), "variable var-2")


def test_two_seals_of_a_value_differ() -> None:
    assert RING.seal(b"x", "c") != RING.seal(b"x", "c")


def test_the_first_key_seals_and_all_open() -> None:
    old = KeyRing.generate()
    both = KeyRing.parse(f"{KeyRing.generate().export()},{old.export()}")
    sealed = old.seal(b"x", "c")
    assert both.open(sealed, "c") == b"x"
    assert both.outdated(sealed)
    assert not both.outdated(both.seal(b"x", "c"))


def test_a_missing_key_is_named() -> None:
    key = base64.b64encode(bytes(32)).decode()
    sealed = KeyRing.parse(f"spring-2026:{key}").seal(b"x", "c")
    with pytest.raises(KeyMissing, match="spring-2026"):
        RING.open(sealed, "c")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "justonekey",
        "a:notbase64!",
        "a:" + base64.b64encode(b"short").decode(),
        "bad id:" + base64.b64encode(bytes(32)).decode(),
        ",".join(["a:" + base64.b64encode(bytes(32)).decode()] * 2),
    ],
)
def test_a_bad_ring_is_refused_without_showing_keys(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        KeyRing.parse(text)
    secret = text.partition(":")[2]
    assert not secret or secret not in str(caught.value)


def test_a_ring_prints_ids_only() -> None:
    key_id, _, key = RING.export().partition(":")
    assert key_id in repr(RING)
    assert key not in repr(RING)


def test_urlsafe_base64_is_a_key_too() -> None:
    raw = bytes([0xFB, 0xFF] * 16)
    ring = KeyRing.parse("a:" + base64.urlsafe_b64encode(raw).decode())
    plain = KeyRing.parse("a:" + base64.b64encode(raw).decode())
    assert ring.open(plain.seal(b"x", "c"), "c") == b"x"


def test_a_ring_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "data" / "keys"
    made = ring_from("", path, may_create=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ring_from("", path, may_create=True).export() == made.export()
    assert [entry.name for entry in path.parent.iterdir()] == ["keys"]


def test_a_ring_is_not_made_where_sealed_values_are(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    with pytest.raises(KeyMissing, match="TERRAPOD_ENCRYPTION__KEYS"):
        ring_from("", path, may_create=False)
    assert not path.exists()


def test_a_damaged_ring_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("")
    with pytest.raises(KeyMissing, match="damaged"):
        ring_from("", path, may_create=True)


def test_keys_of_the_settings_win(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    ring_from("", path, may_create=True)
    assert ring_from(RING.export(), path, may_create=False).export() == RING.export()


def test_tokens_are_printable_and_differ() -> None:
    token = new_token("user")
    assert token.startswith("terrapod-user-")
    assert len(token) >= len("terrapod-user-") + 43
    assert token != new_token("user")
    assert len(digest(token)) == 32


@given(object_id=st.text(st.characters(codec="utf-8"), max_size=40))
def test_a_signed_token_gives_its_object(object_id: str) -> None:
    signer = Signer(bytes(32), Clock())
    token = signer.sign("get", object_id, timedelta(hours=1))
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert signer.verify(token, "get") == object_id


def test_a_token_ends_when_it_should() -> None:
    clock = Clock()
    signer = Signer(bytes(32), clock)
    token = signer.sign("get", "sv-1", timedelta(seconds=60))
    clock.now = NOON + timedelta(seconds=59)
    assert signer.verify(token, "get") == "sv-1"
    clock.now = NOON + timedelta(seconds=60)
    with pytest.raises(BadToken):
        signer.verify(token, "get")


def test_every_bad_token_gets_the_same_words() -> None:
    clock = Clock()
    signer = Signer(bytes(32), clock)
    good = signer.sign("get", "sv-1", timedelta(seconds=60))
    other = Signer(bytes([1] * 32), clock).sign("get", "sv-1", timedelta(seconds=60))
    late = signer.sign("get", "sv-1", timedelta(seconds=-1))
    bad = [(good, "put"), (other, "get"), (late, "get"), ("", "get"), ("é", "get"), ("a", "get")]
    bad += [(good + "=", "get"), (good[:-1], "get"), ("_" + good[1:], "get")]
    words = set()
    for token, verb in bad:
        with pytest.raises(BadToken) as caught:
            signer.verify(token, verb)
        words.add(str(caught.value))
    assert len(words) == 1


def test_a_verb_and_an_object_do_not_flow_into_each_other() -> None:
    signer = Signer(bytes(32), Clock())
    token = signer.sign("ab", "c", timedelta(hours=1))
    with pytest.raises(BadToken):
        signer.verify(token, "a")


def test_a_signed_claim_opens_with_any_key_of_the_ring_and_in_its_context_only() -> None:
    old, new = KeyRing.generate(), KeyRing.generate()
    token = old.sign(b"what", "here")
    rotated = KeyRing.parse(f"{new.export()},{old.export()}")
    assert rotated.signed(token, "here") == b"what"
    for ring, context in ((rotated, "there"), (new, "here")):
        with pytest.raises(BadToken):
            ring.signed(token, context)
