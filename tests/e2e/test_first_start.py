"""What the first start of a server makes and says, and what a client can do with it."""

import re
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from terrapod_control_plane.kernel.postgres.embedded import Embedded
from tests.kit.authority import Authority
from tests.kit.stack import Server

pytestmark = pytest.mark.timeout(120)

# A client of the standard library, which trusts what the environment says.
_ASK = """
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1]).status)
"""
_NAMES = ["terrapod.example.com", "10.1.2.3"]


def _ended(server: Server) -> None:
    server.stop()
    Embedded(server.data / "postgres").erase()


@pytest.fixture(scope="module")
def started_twice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(
        folder=tmp_path_factory.mktemp("first"),
        settings={"TERRAPOD_SERVER__NAMES": ",".join(_NAMES)},
    )
    try:
        server.start()
        server.stop()
        server.start()
        yield server
    finally:
        _ended(server)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Somebody else's."""
    return Authority()


@pytest.fixture(scope="module")
def given(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key."""
    folder = tmp_path_factory.mktemp("given")
    begin = "-----BEGIN CERTIFICATE-----"
    key, _, certificate = authority.server().partition(begin)
    (folder / "key.pem").write_text(key)
    (folder / "cert.pem").write_text(begin + certificate)
    return folder


@pytest.fixture(scope="module")
def certified(given: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that was given its certificate."""
    server = Server(
        folder=tmp_path_factory.mktemp("certified"),
        settings={
            "TERRAPOD_SERVER__TLS_CERT_FILE": str(given / "cert.pem"),
            "TERRAPOD_SERVER__TLS_KEY_FILE": str(given / "key.pem"),
        },
    )
    try:
        server.start()
        yield server
    finally:
        _ended(server)


def _ask(url: str, first: str = ":") -> subprocess.CompletedProcess[str]:
    """A shell that does as it is told, and then asks."""
    script = f'{first}\nexec "$@"'
    return subprocess.run(
        ["/bin/sh", "-c", script, "sh", sys.executable, "-c", _ASK, url],
        env={},
        capture_output=True,
        text=True,
        check=False,
    )


def _shown(port: int) -> x509.Certificate:
    pem = ssl.get_server_certificate(("127.0.0.1", port))
    return x509.load_pem_x509_certificate(pem.encode())


def test_the_token_is_said_once_and_lies_in_a_file_of_its_owner(started_twice: Server) -> None:
    said = re.findall(r"API token, shown once: (\S+)", started_twice.log)
    assert said == [started_twice.token]
    assert started_twice.log.count(started_twice.token) == 1
    file = started_twice.data / "admin-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert str(file) in started_twice.log


def test_what_only_the_server_may_read_is_closed_to_others(started_twice: Server) -> None:
    assert stat.S_IMODE(started_twice.data.stat().st_mode) == 0o700
    keys = started_twice.data / "keys"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600


def test_the_token_is_the_administrators(started_twice: Server) -> None:
    account = started_twice.api("GET", "account/details")["data"]["attributes"]
    assert account["email"] == "admin@localhost"
    pool = {"data": {"type": "agent-pools", "attributes": {"name": "first"}}}
    assert started_twice.api("POST", "organizations/default/agent-pools", pool)["data"]["id"]


def test_a_client_trusts_the_server_by_the_line_that_it_says(started_twice: Server) -> None:
    lines = re.findall(r"terraform trusts it with:  (export SSL_CERT_FILE=.+)", started_twice.log)
    assert len(set(lines)) == 1
    url = f"{started_twice.url}/api/v2/ping"
    trusting = _ask(url, lines[0])
    assert (trusting.returncode, trusting.stdout) == (0, "204\n"), trusting.stderr
    assert "CERTIFICATE_VERIFY_FAILED" in _ask(url).stderr


def test_both_ports_go_by_all_names_of_the_server(started_twice: Server) -> None:
    for port in (started_twice.port, started_twice.agent_port):
        found = _shown(port).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = [str(name.value) for name in found.value]
        assert {"localhost", "127.0.0.1", "::1", *_NAMES} == set(names)


@pytest.mark.parametrize("name", _NAMES)
def test_a_client_reaches_it_by_a_further_name(started_twice: Server, name: str) -> None:
    trusting = ssl.create_default_context(cafile=started_twice.ca)
    with httpx.Client(verify=trusting) as client:
        answer = client.get(
            f"https://127.0.0.1:{started_twice.port}/api/v2/ping",
            extensions={"sni_hostname": name},
        )
    assert answer.status_code == 204


def test_a_given_certificate_is_what_clients_see(
    certified: Server, authority: Authority, given: Path
) -> None:
    trusting = ssl.create_default_context(cadata=authority.pem)
    with httpx.Client(verify=trusting) as client:
        assert client.get(f"{certified.url}/api/v2/ping").status_code == 204
    certificate = x509.load_pem_x509_certificate((given / "cert.pem").read_bytes())
    assert _shown(certified.port) == certificate


def test_of_a_given_certificate_nothing_is_said_and_agents_see_our_own(certified: Server) -> None:
    assert "SSL_CERT_FILE" not in certified.log
    ours = x509.load_pem_x509_certificate(certified.ca.read_bytes())
    _shown(certified.agent_port).verify_directly_issued_by(ours)
