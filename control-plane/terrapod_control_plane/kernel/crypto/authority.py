"""The certificate authority for agents and for the server they call."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CA_DAYS = 3650
# For those whose clocks are behind the one that we go by, which may be this machine's own.
_BACKDATE = timedelta(hours=1)
_REQUEST_LIMIT = 16 * 1024

AgentKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class BadRequestCertificate(Exception):
    """The certificate signing request cannot be granted; the message says why."""


class KeyPair(NamedTuple):
    """A certificate and its private key, both PEM; the key is not encrypted."""

    cert_pem: bytes
    key_pem: bytes


class _Subject(NamedTuple):
    name: str
    key: AgentKey
    usage: x509.ObjectIdentifier
    alternatives: Sequence[x509.GeneralName]


class Authority:
    """A P-256 root that signs end certificates only."""

    def __init__(self, cert_pem: bytes, key_pem: bytes) -> None:
        key = load_pem_private_key(key_pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the authority's key is not an elliptic curve key")
        self._key = key
        self._cert = x509.load_pem_x509_certificate(cert_pem)

    @classmethod
    def create(cls, name: str, now: datetime) -> Self:
        """A new authority with ten years before it."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(now + timedelta(days=_CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        return cls(certificate.public_bytes(Encoding.PEM), _private_pem(key))

    @property
    def cert_pem(self) -> bytes:
        """What clients and servers trust."""
        return self._cert.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key in clear text, to be sealed by who stores it."""
        return _private_pem(self._key)

    @property
    def expires(self) -> datetime:
        """The end of the authority's own certificate, and so of all that it issues."""
        return self._cert.not_valid_after_utc

    def issue_server(self, names: Sequence[str], now: datetime, days: int) -> KeyPair:
        """A server certificate with a new key for host names and IP addresses."""
        if not names:
            raise ValueError("a server certificate needs at least one name")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _Subject(
            names[0][:64],
            key.public_key(),
            ExtendedKeyUsageOID.SERVER_AUTH,
            [_alternative(name) for name in names],
        )
        return KeyPair(self._issue(subject, now, timedelta(days=days)), _private_pem(key))

    def issue_client(
        self, csr_pem: bytes, common_name: str, now: datetime, lifetime: timedelta
    ) -> bytes:
        """A client certificate for the key of the request, whose own names count for nothing."""
        return self._issue(_client(common_name, requested_key(csr_pem)), now, lifetime)

    def issue_client_key(self, common_name: str, now: datetime, lifetime: timedelta) -> KeyPair:
        """A client certificate with a new key, for clients that cannot make one."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._issue(_client(common_name, key.public_key()), now, lifetime)
        return KeyPair(certificate, _private_pem(key))

    def _issue(self, subject: _Subject, now: datetime, lifetime: timedelta) -> bytes:
        issuer = self._cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject.name))
            .issuer_name(self._cert.subject)
            .public_key(subject.key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(min(now + lifetime, self.expires))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([subject.usage]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject.key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer),
                critical=False,
            )
        )
        if subject.alternatives:
            names = x509.SubjectAlternativeName(subject.alternatives)
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


def requested_key(csr_pem: bytes) -> AgentKey:
    """The key of a request that proves to hold it; raises BadRequestCertificate."""
    if len(csr_pem) > _REQUEST_LIMIT:
        raise BadRequestCertificate("the certificate signing request is too large")
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        key = request.public_key()
        # Checked before the signature, so that no exotic algorithm ever runs.
        accepted = _accepted(key)
        genuine = accepted is not None and request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise BadRequestCertificate(
            "this is not a certificate signing request in PEM form"
        ) from None
    if accepted is None:
        raise BadRequestCertificate("the key of the request must be Ed25519 or ECDSA P-256")
    if not genuine:
        raise BadRequestCertificate("the request is not signed by its own key")
    return accepted


def fingerprint(der: bytes) -> str:
    """The SHA-256 of a certificate, in hex, as it is recorded and looked up."""
    return hashlib.sha256(der).hexdigest()


def certificate_der(cert_pem: bytes) -> bytes:
    """The certificate as it appears on the wire, to take the fingerprint of."""
    return x509.load_pem_x509_certificate(cert_pem).public_bytes(Encoding.DER)


def public_key_pem(cert_pem: bytes) -> bytes:
    """The public key of a certificate, to be recorded for renewals after its expiry."""
    key = x509.load_pem_x509_certificate(cert_pem).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signed_by(public_pem: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the holder of a recorded key signed the message (ECDSA with SHA-256)."""
    key = load_pem_public_key(public_pem)
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _accepted(key: object) -> AgentKey | None:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    return None


def _client(common_name: str, key: AgentKey) -> _Subject:
    return _Subject(common_name, key, ExtendedKeyUsageOID.CLIENT_AUTH, ())


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
