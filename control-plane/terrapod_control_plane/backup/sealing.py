"""The seal around an archive: by a passphrase, or for the holder of a private key.

Frames of AES-256-GCM whose nonce is their number and a mark on the last one, so that none can be
dropped, repeated, reordered or cut off unseen.
"""

import base64
import hmac
import secrets
from collections.abc import Callable
from typing import BinaryIO, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from msgspec import Struct

from terrapod_control_plane.backup.tar import BadBackup

MAGIC = b"TERRAPOD-BACKUP\n"
_PLAIN = 256 * 1024
_TAG = 16
_LONGEST_HEAD = 4096
_RAW = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)


class WrongSecret(Exception):
    """The passphrase or the key does not open this archive."""


class Head(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the key of an archive is found, and what shows that it was; bytes are base64."""

    salt: str = ""  # of a passphrase
    n: int = 0
    r: int = 0
    p: int = 0
    ephemeral: str = ""  # the public key that meets the recipient's
    recipient: str = ""
    check: str = ""


class Sealer(Protocol):
    """Makes the key of one archive."""

    def key(self) -> tuple[Head, bytes]:
        """What goes into the head, and the key."""
        ...


class Opener(Protocol):
    """Finds the key of an archive again."""

    def key_of(self, head: Head) -> bytes:
        """The key, if this can be what the archive was sealed for."""
        ...


class Passphrase(Struct, frozen=True):
    """Who knows it can open the archive."""

    text: str

    def key(self) -> tuple[Head, bytes]:
        """Slow to find, for people choose short ones: 64 MiB and some tenths of a second."""
        head = Head(salt=_text(secrets.token_bytes(16)), n=2**16, r=8, p=2)
        return head, self.key_of(head)

    def key_of(self, head: Head) -> bytes:
        """The key."""
        if not head.salt:
            raise WrongSecret(
                "this archive is sealed for a key, not with a passphrase: use --identity"
            )
        if head.n > 2**18 or head.r > 16 or head.p > 16:
            raise BadBackup("the seal of the archive asks for more memory than it may")
        kdf = Scrypt(salt=_bytes(head.salt), length=32, n=head.n, r=head.r, p=head.p)
        return kdf.derive(self.text.encode())


class Recipient(Struct, frozen=True):
    """The public half of an X25519 key, whose holder alone can open the archive."""

    public: bytes

    @classmethod
    def read(cls, pem: bytes) -> "Recipient":
        """From PEM, as `openssl pkey -pubout` writes it."""
        try:
            found = serialization.load_pem_public_key(pem)
        except ValueError as error:
            raise WrongSecret(f"no public key in PEM: {error}") from None
        if not isinstance(found, X25519PublicKey):
            raise WrongSecret("the key of a recipient is of the kind X25519")
        return cls(found.public_bytes(*_RAW))

    def key(self) -> tuple[Head, bytes]:
        """A key pair of this archive alone meets the recipient's."""
        ours = X25519PrivateKey.generate()
        public = ours.public_key().public_bytes(*_RAW)
        shared = ours.exchange(X25519PublicKey.from_public_bytes(self.public))
        head = Head(ephemeral=_text(public), recipient=_text(self.public))
        return head, _derived(shared, public + self.public)


class Identity(Struct, frozen=True):
    """The private half."""

    private: X25519PrivateKey

    @classmethod
    def read(cls, pem: bytes) -> "Identity":
        """From PEM, as `openssl genpkey -algorithm X25519` writes it."""
        try:
            found = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError) as error:
            raise WrongSecret(f"no private key in PEM without a password: {error}") from None
        if not isinstance(found, X25519PrivateKey):
            raise WrongSecret("the key of a recipient is of the kind X25519")
        return cls(found)

    def key_of(self, head: Head) -> bytes:
        """The key."""
        public = self.private.public_key().public_bytes(*_RAW)
        if not head.ephemeral:
            raise WrongSecret("this archive is sealed with a passphrase, not for a key")
        if _text(public) != head.recipient:
            raise WrongSecret("this archive is sealed for another key")
        theirs = _bytes(head.ephemeral)
        shared = self.private.exchange(X25519PublicKey.from_public_bytes(theirs))
        return _derived(shared, theirs + public)


def _derived(shared: bytes, salt: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, b"terrapod backup").derive(shared)


def _check(key: bytes) -> str:
    return _text(hmac.digest(key, b"check", "sha256")[:16])


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise BadBackup("the seal of the archive is damaged") from None


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


class SealedWriter:
    """Encrypts what is written on its way out."""

    def __init__(self, write: Callable[[bytes], object], sealer: Sealer) -> None:
        head, key = sealer.key()
        head = msgspec.structs.replace(head, check=_check(key))
        self._head = msgspec.json.encode(head)
        self._cipher = AESGCM(key)
        self._write = write
        self._waiting = bytearray()
        self._number = 0
        write(MAGIC + len(self._head).to_bytes(4, "big") + self._head)

    def write(self, data: bytes) -> None:
        """Take bytes; a full frame waits until more follow, for only then it is not the last."""
        self._waiting += data
        while len(self._waiting) > _PLAIN:
            self._frame(bytes(self._waiting[:_PLAIN]), last=False)
            del self._waiting[:_PLAIN]

    def finish(self) -> None:
        """Nothing follows."""
        self._frame(bytes(self._waiting), last=True)

    def _frame(self, plain: bytes, *, last: bool) -> None:
        nonce = _nonce(self._number, last=last)
        self._write(self._cipher.encrypt(nonce, plain, self._head))
        self._number += 1


class SealedReader:
    """Decrypts what is read; nothing is given that was not verified."""

    def __init__(self, file: BinaryIO, opener: Opener) -> None:
        self._file = file
        size = int.from_bytes(file.read(4), "big")
        self._head = file.read(min(size, _LONGEST_HEAD))
        try:
            head = msgspec.json.decode(self._head, type=Head)
        except msgspec.DecodeError:
            raise BadBackup("the seal of the archive is damaged") from None
        key = opener.key_of(head)
        if not hmac.compare_digest(_check(key), head.check):
            raise WrongSecret("the passphrase or key is not the one that this archive needs")
        self._cipher = AESGCM(key)
        self._number = 0
        self._next = file.read(_PLAIN + _TAG)
        self._waiting = bytearray()

    def read(self, size: int) -> bytes:
        """So many bytes, less at the end."""
        while len(self._waiting) < size and self._next:
            frame, self._next = self._next, self._file.read(_PLAIN + _TAG)
            nonce = _nonce(self._number, last=not self._next)
            try:
                self._waiting += self._cipher.decrypt(nonce, frame, self._head)
            except InvalidTag:
                raise BadBackup("the archive is damaged or cut off") from None
            self._number += 1
        found = bytes(self._waiting[:size])
        del self._waiting[:size]
        return found


def opened(file: BinaryIO, opener: Callable[[], Opener]) -> Callable[[int], bytes]:
    """How to read an archive; ``opener`` is asked only where it is sealed."""
    begin = file.read(len(MAGIC))
    if begin == MAGIC:
        return SealedReader(file, opener()).read
    waiting = bytearray(begin)

    def read(size: int) -> bytes:
        found = bytes(waiting[:size])
        del waiting[:size]
        return found + file.read(size - len(found))

    return read
