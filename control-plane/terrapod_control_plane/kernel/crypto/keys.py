"""Key ring, envelope encryption, token hashing, signed URLs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
import os
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from terrapod_common import files

_VERSION = 1
_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_WRAPPED_BYTES = _KEY_BYTES + _TAG_BYTES
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")


class KeyMissing(Exception):
    """No key is there, or not the one a value was sealed with."""


class Tampered(Exception):
    """The value is not what was sealed, or was sealed for another context."""


class BadToken(Exception):
    """The capability token opens nothing."""


class KeyRing:
    """AES-256-GCM envelope encryption: the first key seals, all keys open."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise ValueError("a key ring needs at least one key")
        self._keys = dict(keys)
        self._first = next(iter(self._keys))

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self._keys)})"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The ring written as `id:base64,id:base64`; a ValueError never repeats key material."""
        keys: dict[str, bytes] = {}
        for number, part in enumerate(text.strip().split(","), start=1):
            key_id, key = _parse_key(part, number)
            if key_id in keys:
                raise ValueError(f"encryption key id {key_id!r} is given twice")
            keys[key_id] = key
        return cls(keys)

    @classmethod
    def generate(cls) -> Self:
        """A ring of one new random key."""
        return cls({f"k{secrets.token_hex(4)}": secrets.token_bytes(_KEY_BYTES)})

    def export(self) -> str:
        """What `parse` reads: the keys in clear text."""
        parts = (f"{key_id}:{base64.b64encode(key).decode()}" for key_id, key in self._keys.items())
        return ",".join(parts)

    def seal(self, plain: bytes, context: str) -> bytes:
        """The value encrypted under a data key of its own; only the same context opens it."""
        key_id = self._first.encode()
        data_key = secrets.token_bytes(_KEY_BYTES)
        head = bytes([_VERSION, len(key_id)]) + key_id + secrets.token_bytes(_NONCE_BYTES)
        bound = head + context.encode()
        wrapped = AESGCM(self._keys[self._first]).encrypt(head[-_NONCE_BYTES:], data_key, bound)
        # A data key encrypts one value only, so its nonce may be constant.
        return head + wrapped + AESGCM(data_key).encrypt(bytes(_NONCE_BYTES), plain, bound)

    def open(self, sealed: bytes, context: str) -> bytes:
        """The plain value; raises KeyMissing naming the key, or Tampered."""
        head, key_id = _head(sealed)
        key = self._keys.get(key_id)
        if key is None:
            raise KeyMissing(
                f"the encryption key {key_id!r} is missing from the key ring: "
                "add it to TERRAPOD_ENCRYPTION__KEYS, or put the key file of this database back"
            )
        bound = head + context.encode()
        wrapped, body = sealed[len(head) :][:_WRAPPED_BYTES], sealed[len(head) + _WRAPPED_BYTES :]
        try:
            data_key = AESGCM(key).decrypt(head[-_NONCE_BYTES:], wrapped, bound)
            return AESGCM(data_key).decrypt(bytes(_NONCE_BYTES), body, bound)
        except InvalidTag:
            raise Tampered("the sealed value was changed, or belongs to something else") from None

    def sign(self, claim: bytes, context: str) -> str:
        """A token that carries the claim; only who has the ring can make it."""
        return _encoded(claim + _signature(self._keys[self._first], claim, context))

    def signed(self, token: str, context: str) -> bytes:
        """The claim of a token that any key of the ring has signed; else raises BadToken."""
        raw = _decoded(token)
        claim, mark = raw[: -hashlib.sha256().digest_size], raw[-hashlib.sha256().digest_size :]
        for key in self._keys.values():
            if hmac.compare_digest(mark, _signature(key, claim, context)):
                return claim
        raise BadToken("this was not signed with a key of this ring")

    def outdated(self, sealed: bytes) -> bool:
        """Whether a rotation should seal this value again with the first key."""
        return _head(sealed)[1] != self._first


def _signature(key: bytes, claim: bytes, context: str) -> bytes:
    # A key of its own for each use: what signs is never what seals.
    derived = hmac.digest(key, b"sign " + context.encode(), "sha256")
    return hmac.digest(derived, claim, "sha256")


def _parse_key(part: str, number: int) -> tuple[str, bytes]:
    key_id, _, encoded = part.strip().partition(":")
    if not _KEY_ID.fullmatch(key_id):
        raise ValueError(f"encryption key {number} must have the form id:base64")
    try:
        key = base64.b64decode(encoded, altchars=b"-_" if set(encoded) & set("-_") else None)
    except binascii.Error:
        raise ValueError(f"encryption key {key_id!r} is not valid base64") from None
    if len(key) != _KEY_BYTES:
        raise ValueError(f"encryption key {key_id!r} has {len(key)} bytes instead of {_KEY_BYTES}")
    return key_id, key


def _head(sealed: bytes) -> tuple[bytes, str]:
    """Everything before the wrapped data key, and the key id in it."""
    if len(sealed) < 2 or sealed[0] != _VERSION:
        raise Tampered("this is not a sealed value of a known version")
    end = 2 + sealed[1]
    head = sealed[: end + _NONCE_BYTES]
    if len(sealed) < end + _NONCE_BYTES + _WRAPPED_BYTES + _TAG_BYTES:
        raise Tampered("the sealed value is cut short")
    try:
        return head, head[2:end].decode("ascii")
    except UnicodeDecodeError:
        raise Tampered("the sealed value names no key") from None


def ring_from(keys: str, path: Path, *, may_create: bool) -> KeyRing:
    """The ring of the settings, else of the file; a new file only where it may be created."""
    if keys.strip():
        try:
            return KeyRing.parse(keys)
        except ValueError as error:
            raise KeyMissing(f"TERRAPOD_ENCRYPTION__KEYS is no key ring: {error}") from None
    ring = _ring_in(path)
    if ring is not None:
        return ring
    if not may_create:
        raise KeyMissing(
            f"the database holds encrypted values, but there is no key: put the key file {path} "
            "back, or set TERRAPOD_ENCRYPTION__KEYS. A new key could not read them"
        )
    return _create_ring(path)


def _ring_in(path: Path) -> KeyRing | None:
    try:
        text = path.read_text("ascii")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise KeyMissing(f"the key file {path} cannot be read: {error}") from error
    try:
        return KeyRing.parse(text)
    except ValueError as error:
        raise KeyMissing(f"the key file {path} is damaged: {error}") from error


def _create_ring(path: Path) -> KeyRing:
    ring = KeyRing.generate()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(ring.export() + "\n")
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, fails where another process was first: its ring must win.
        os.link(draft, path)
    except FileExistsError:
        return _ring_in(path) or ring
    finally:
        draft.unlink()
    files.sync_folder(path.parent)
    return ring


def new_token(kind: str) -> str:
    """A random token whose prefix tells a person, and a secret scanner, what it is."""
    return f"terrapod-{kind}-{secrets.token_urlsafe(32)}"


def digest(token: str) -> bytes:
    """What is stored of a token, and looked up."""
    return hashlib.sha256(token.encode()).digest()


class Signer:
    """Makes and checks the capability tokens in our own URLs."""

    def __init__(self, key: bytes, now: Callable[[], datetime]) -> None:
        if len(key) < _KEY_BYTES:
            raise ValueError(f"a signing key has at least {_KEY_BYTES} bytes")
        self._key = key
        self._now = now

    def sign(self, verb: str, object_id: str, lifetime: timedelta) -> str:
        """A URL path segment that allows one verb on one object until it expires."""
        expires = math.ceil((self._now() + lifetime).timestamp())
        claim = expires.to_bytes(8, "big") + object_id.encode()
        return _encoded(claim + self._mark(verb, claim))

    def verify(self, token: str, verb: str) -> str:
        """The object id; BadToken does not tell which check failed."""
        raw = _decoded(token)
        claim, mark = raw[: -hashlib.sha256().digest_size], raw[-hashlib.sha256().digest_size :]
        genuine = hmac.compare_digest(mark, self._mark(verb, claim))
        expires = int.from_bytes(claim[:8], "big")
        if not genuine or expires <= self._now().timestamp():
            raise BadToken("this link is not valid or has expired")
        return claim[8:].decode()

    def _mark(self, verb: str, claim: bytes) -> bytes:
        # The length keeps the end of a verb from passing as the beginning of a claim.
        name = verb.encode()
        return hmac.digest(self._key, len(name).to_bytes(2, "big") + name + claim, "sha256")


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decoded(token: str) -> bytes:
    try:
        raw = base64.urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    # Base64 has several spellings of the same bytes; only ours is a token.
    return raw if _encoded(raw) == token else b""
