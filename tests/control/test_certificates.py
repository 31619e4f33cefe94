"""What both ports show of themselves, and that it is renewed while they serve."""

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute
from cryptography import x509
from msgspec.structs import replace

from terrapod_control_plane.certificates import ServedCertificates
from terrapod_control_plane.web.tls import ListenFailed, ListeningSocket
from tests.kit.clock import MovableClock
from tests.kit.control import Control

pytestmark = pytest.mark.anyio


async def shown(control: Control) -> x509.Certificate:
    """The certificate of the public port."""
    address = urlsplit(control.public_url)
    assert address.port
    stream: ByteStream = await anyio.connect_tcp(
        "127.0.0.1", address.port, tls_hostname="localhost", ssl_context=_curious()
    )
    async with stream:
        der = stream.extra(TLSAttribute.peer_certificate_binary)
    assert der
    return x509.load_der_x509_certificate(der)


async def test_the_names_of_the_server_are_in_its_certificate(control: Control) -> None:
    found = (await shown(control)).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert found.value.get_values_for_type(x509.DNSName) == ["localhost"]
    addresses = found.value.get_values_for_type(x509.IPAddress)
    assert [str(address) for address in addresses] == ["127.0.0.1", "::1"]


async def test_our_own_certificate_is_made_anew_in_good_time(control: Control) -> None:
    clock = MovableClock()
    certificates = ServedCertificates(replace(control.services, clock=clock))
    public, agents = ListeningSocket("127.0.0.1", 0), ListeningSocket("127.0.0.1", 0)
    certificates.give(public, agents)
    first = [_handshake(listener) for listener in (public, agents)]
    certificates.renew()
    assert [_handshake(listener) for listener in (public, agents)] == first
    clock.move(31 * 24 * 3600)
    certificates.renew()
    second = [_handshake(listener) for listener in (public, agents)]
    assert not set(second) & {*first, None}


async def test_a_given_certificate_is_read_again(control: Control, tmp_path: Path) -> None:
    def issue() -> bytes:
        pair = control.services.authority.issue_server(["given"], control.clock.now(), 1)
        (tmp_path / "cert.pem").write_bytes(pair.cert_pem)
        (tmp_path / "key.pem").write_bytes(pair.key_pem)
        return pair.cert_pem

    files = {"tls_cert_file": tmp_path / "cert.pem", "tls_key_file": tmp_path / "key.pem"}
    settings = control.services.settings
    settings = replace(settings, server=replace(settings.server, **files))
    certificates = ServedCertificates(replace(control.services, settings=settings))
    public, agents = ListeningSocket("127.0.0.1", 0), ListeningSocket("127.0.0.1", 0)
    with pytest.raises(ListenFailed, match="can't be used"):
        certificates.give(public, agents)
    first = issue()
    certificates.give(public, agents)
    assert _handshake(public) == ssl.PEM_cert_to_DER_cert(first.decode())
    second = issue()
    certificates.renew()
    assert _handshake(public) == ssl.PEM_cert_to_DER_cert(second.decode())


def _curious() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _handshake(listener: ListeningSocket) -> bytes | None:
    """What a client is shown, without a network between."""
    assert listener.ssl_context
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = listener.ssl_context.wrap_bio(to_server, to_client, server_side=True)
    client = _curious().wrap_bio(to_client, to_server)
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client.getpeercert(binary_form=True)
