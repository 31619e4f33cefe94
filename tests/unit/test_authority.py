"""The certificate authority, checked by the strictest verifier at hand."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from terrapod_control_plane.kernel.crypto.authority import (
    Authority,
    BadRequestCertificate,
    certificate_der,
    fingerprint,
    public_key_pem,
    signed_by,
)
from terrapod_control_plane.web.tls import agent_context

NOW = datetime.now(UTC)
DAY = timedelta(days=1)

AnyKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Terrapod agents", NOW)


def request_for(key: AnyKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "what it calls itself")])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM)


def shake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> bytes | None:
    """Both ends in memory; returns the certificate that the server saw."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(down, up, server_hostname=name)
    far = server.wrap_bio(up, down, server_side=True)
    for end in (near, far, near, far):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return far.getpeercert(binary_form=True)


def strict_client(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=authority.cert_pem.decode())
    return context


@pytest.mark.parametrize("name", ["terrapod.example.com", "127.0.0.1", "::1"])
def test_strict_verifiers_accept_both_ends(authority: Authority, tmp_path: Path, name: str) -> None:
    names = ["terrapod.example.com", "127.0.0.1", "::1"]
    cert, key = authority.issue_server(names, NOW, days=30)
    server = agent_context(cert, key, authority.cert_pem)
    server.verify_flags |= ssl.VERIFY_X509_STRICT
    pair = authority.issue_client_key("apool-1/build-1", NOW, DAY)
    path = tmp_path / "client.pem"
    path.write_bytes(pair.key_pem + pair.cert_pem)
    client = strict_client(authority)
    client.load_cert_chain(path)
    assert shake(client, server, name) == certificate_der(pair.cert_pem)


def test_another_authority_is_not_trusted(authority: Authority) -> None:
    cert, key = authority.issue_server(["localhost"], NOW, days=30)
    server = agent_context(cert, key, authority.cert_pem)
    client = strict_client(Authority.create("somebody else", NOW))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client, server, "localhost")


@pytest.mark.parametrize(
    "key", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())]
)
def test_a_request_gets_a_client_certificate(authority: Authority, key: AnyKey) -> None:
    pem = authority.issue_client(request_for(key), "listener-1", NOW, DAY)
    certificate = x509.load_pem_x509_certificate(pem)
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.rfc4514_string() == "CN=listener-1"
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert certificate.not_valid_before_utc < NOW < certificate.not_valid_after_utc
    assert certificate.not_valid_after_utc <= NOW + DAY
    issuer = x509.load_pem_x509_certificate(authority.cert_pem)
    certificate.verify_directly_issued_by(issuer)


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())],
    ids=["rsa", "p384"],
)
def test_other_kinds_of_keys_are_refused(authority: Authority, key: AnyKey) -> None:
    with pytest.raises(BadRequestCertificate, match="Ed25519"):
        authority.issue_client(request_for(key), "listener-1", NOW, DAY)


@pytest.mark.parametrize("pem", [b"", b"nonsense", b"-" * 100_000, b"\xff\x00"])
def test_nonsense_is_refused(authority: Authority, pem: bytes) -> None:
    with pytest.raises(BadRequestCertificate):
        authority.issue_client(pem, "listener-1", NOW, DAY)


def test_a_request_for_a_foreign_key_is_refused(authority: Authority) -> None:
    mine, foreign = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
    der = x509.load_pem_x509_csr(request_for(mine)).public_bytes(Encoding.DER)
    forged = der.replace(
        mine.public_key().public_bytes_raw(), foreign.public_key().public_bytes_raw()
    )
    pem = x509.load_der_x509_csr(forged).public_bytes(Encoding.PEM)
    with pytest.raises(BadRequestCertificate, match="not signed"):
        authority.issue_client(pem, "listener-1", NOW, DAY)


def test_nothing_outlives_the_authority(authority: Authority) -> None:
    pair = authority.issue_server(["localhost"], NOW, days=36500)
    certificate = x509.load_pem_x509_certificate(pair.cert_pem)
    assert certificate.not_valid_after_utc == authority.expires


def test_an_authority_is_what_its_pem_says(authority: Authority) -> None:
    again = Authority(authority.cert_pem, authority.key_pem)
    assert again.cert_pem == authority.cert_pem
    pem = again.issue_client_key("listener-1", NOW, DAY).cert_pem
    x509.load_pem_x509_certificate(pem).verify_directly_issued_by(
        x509.load_pem_x509_certificate(authority.cert_pem)
    )


def test_serials_and_fingerprints_differ(authority: Authority) -> None:
    pems = [authority.issue_client_key("listener-1", NOW, DAY).cert_pem for _ in range(3)]
    prints = {fingerprint(certificate_der(pem)) for pem in pems}
    assert len(prints) == 3
    assert all(len(one) == 64 for one in prints)
    assert len({x509.load_pem_x509_certificate(pem).serial_number for pem in pems}) == 3


def test_a_recorded_key_proves_who_asks(authority: Authority) -> None:
    edwards, curve = ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
    signatures: list[tuple[AnyKey, bytes]] = [
        (edwards, edwards.sign(b"nonce")),
        (curve, curve.sign(b"nonce", ec.ECDSA(hashes.SHA256()))),
    ]
    for key, signature in signatures:
        pem = public_key_pem(authority.issue_client(request_for(key), "l", NOW, DAY))
        assert signed_by(pem, signature, b"nonce")
        assert not signed_by(pem, signature, b"another nonce")
        assert not signed_by(pem, b"", b"nonce")
