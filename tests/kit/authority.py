"""A certificate authority for tests: trustme's, which also signs what agents ask for."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID


class Authority:
    """Signs what it is asked to."""

    def __init__(self, name: str = "test authority") -> None:
        self._authority = trustme.CA(organization_name=name)
        self.pem = self._authority.cert_pem.bytes().decode()

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
        issued = self._authority.issue_cert("localhost", "127.0.0.1")
        return issued.private_key_and_cert_chain_pem.bytes().decode()

    def sign(self, csr: str, life: timedelta = timedelta(hours=1)) -> x509.Certificate:
        """A client certificate for a request; trustme only signs for keys of its own making."""
        request = x509.load_pem_x509_csr(csr.encode())
        assert request.is_signature_valid
        key = serialization.load_pem_private_key(self._authority.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        now = datetime.now(UTC)
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(x509.load_pem_x509_certificate(self.pem.encode()).subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + life)
            .add_extension(usage, critical=False)
            .add_extension(issuer, critical=False)
            .sign(key, hashes.SHA256())
        )


def pem(certificate: x509.Certificate) -> str:
    """A certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def fingerprint(certificate: x509.Certificate) -> bytes:
    """What a server knows a certificate by."""
    return certificate.fingerprint(hashes.SHA256())
