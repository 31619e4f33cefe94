"""Who this agent is: a key that never leaves the machine and a certificate for it."""

import ssl
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec import Struct

from terrapod_agent.errors import OperationFailed
from terrapod_common import files, wire

_RECORD = "identity.json"
_CHAIN = "identity.pem"


class Identity(Struct, frozen=True, kw_only=True):
    """All that a join gave, kept in one file of the data directory."""

    name: str
    server_url: str  # the public port
    agent_url: str
    listener_id: str
    pool_id: str
    key: str  # PEM
    certificate: str  # PEM
    ca_certificate: str  # PEM, trusted on the agent port
    server_ca: str = ""  # PEM, trusted on the public port; empty: the system's
    renew_after_seconds: float = 28800.0
    issued_at: float = 0.0  # by the clock of this machine

    def renewed(self, answer: wire.Renewed) -> "Identity":
        """The same agent with its next certificate."""
        return msgspec.structs.replace(
            self,
            certificate=answer.certificate,
            ca_certificate=answer.ca_certificate,
            renew_after_seconds=answer.renew_after_seconds,
            issued_at=time.time(),
        )

    def renew_in(self) -> float:
        """Seconds until the next certificate is due; a clock that went back means now."""
        age = time.time() - self.issued_at
        return max(0.0, self.renew_after_seconds - age) if age >= 0 else 0.0

    def expires(self) -> datetime:
        """When the certificate ends."""
        return x509.load_pem_x509_certificate(self.certificate.encode()).not_valid_after_utc

    def expired(self) -> bool:
        """Whether the certificate has ended, by this machine's clock."""
        return self.expires() <= datetime.now(UTC)


def new_key() -> str:
    """A fresh P-256 key as PEM."""
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def certificate_request(key: str, name: str) -> str:
    """A certificate request for ``name``, as PEM."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    signed = x509.CertificateSigningRequestBuilder().subject_name(subject)
    csr = signed.sign(_private(key), hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()


def sign(key: str, text: str) -> bytes:
    """A signature over ``text`` that proves possession of the key."""
    return _private(key).sign(text.encode(), ec.ECDSA(hashes.SHA256()))


def load(data_dir: Path) -> Identity | None:
    """The stored identity, or nothing when this agent has never joined."""
    try:
        return msgspec.json.decode((data_dir / _RECORD).read_bytes(), type=Identity)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise OperationFailed(f"{data_dir / _RECORD} is damaged ({error}); join again") from error


def store(data_dir: Path, identity: Identity) -> None:
    """Keep the identity; a crash leaves the old or the new one, never a mixture."""
    files.private_folder(data_dir)
    files.write_atomically(data_dir / _RECORD, msgspec.json.encode(identity))


def agent_context(data_dir: Path, identity: Identity) -> ssl.SSLContext:
    """Mutual TLS for the agent port."""
    context = ssl.create_default_context(cadata=identity.ca_certificate)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The ssl module takes key and certificate from a file only.
    chain = files.private_folder(data_dir) / _CHAIN
    files.write_atomically(chain, f"{identity.key}\n{identity.certificate}\n".encode())
    context.load_cert_chain(chain)
    return context


def public_context(ca: str) -> ssl.SSLContext:
    """TLS for the public port; without ``ca`` the system decides whom to trust."""
    return ssl.create_default_context(cadata=ca or None)


def doubt_about_clock(text: str) -> str:
    """The doubt that a certificate of the server raises about this machine's clock, if any."""
    if "not yet valid" not in text and "has expired" not in text:
        return ""
    return f"this machine's clock says {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: is it right?"


def _private(key: str) -> ec.EllipticCurvePrivateKey:
    loaded = serialization.load_pem_private_key(key.encode(), password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise TypeError("the stored key is not a P-256 key")
    return loaded
