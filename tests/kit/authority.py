"""A certificate authority for tests."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class Authority:
    """Signs what it is asked to."""

    def __init__(self, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        builder = self._builder(self._name, self._key.public_key(), timedelta(days=1))
        ca = x509.BasicConstraints(ca=True, path_length=None)
        self._certificate = builder.add_extension(ca, critical=True).sign(
            self._key, hashes.SHA256()
        )
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def contexts(self, chain: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """Of the port with mutual TLS and of the public one, for a server with this PEM file."""
        strict = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=self.pem)
        strict.verify_mode = ssl.CERT_REQUIRED
        strict.minimum_version = ssl.TLSVersion.TLSv1_3
        strict.num_tickets = 0
        public = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        for context in (strict, public):
            context.load_cert_chain(chain)
        return strict, public

    def server(self) -> str:
        """Key and certificate for loopback, as one PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        builder = self._builder(_named("localhost"), key.public_key(), timedelta(days=1))
        certificate = builder.add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return (private + certificate.public_bytes(serialization.Encoding.PEM)).decode()

    def sign(self, csr: str, life: timedelta = timedelta(hours=1)) -> x509.Certificate:
        """A client certificate for a request."""
        request = x509.load_pem_x509_csr(csr.encode())
        assert request.is_signature_valid
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = self._builder(request.subject, request.public_key(), life)
        return builder.add_extension(usage, critical=False).sign(self._key, hashes.SHA256())

    def _builder(
        self, subject: x509.Name, key: CertificatePublicKeyTypes, life: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + life)
        )


def pem(certificate: x509.Certificate) -> str:
    """A certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def fingerprint(certificate: x509.Certificate) -> bytes:
    """What a server knows a certificate by."""
    return certificate.fingerprint(hashes.SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
