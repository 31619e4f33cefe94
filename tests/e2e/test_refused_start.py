"""A server that can't start says why in one line, and with the right exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from terrapod_control_plane.kernel.postgres.embedded import Embedded
from tests.kit.stack import Server

pytestmark = pytest.mark.timeout(60)

NO_CERTIFICATE = {
    "TERRAPOD_SERVER__TLS_CERT_FILE": "absent.pem",
    "TERRAPOD_SERVER__TLS_KEY_FILE": "absent.pem",
}


def serve(data_dir: Path, given: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A start that is refused."""
    ports = {"TERRAPOD_SERVER__PORT": "0", "TERRAPOD_SERVER__AGENT_PORT": "0"}
    data_dir.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "terrapod_control_plane", "serve"],
        env={**os.environ, "TERRAPOD_DATA_DIR": str(data_dir), **ports, **given},
        cwd=data_dir,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("given", "said", "code"),
    [
        ({"TERRAPOD_SERVER__PORT": "99999"}, "server.port", 2),
        ({"TERRAPOD_SERVER__PRT": "1"}, "TERRAPOD_SERVER__PRT: unknown setting", 2),
        ({"TERRAPOD_DATABASE__URL": "postgresql://x@127.0.0.1:1/y"}, "can't be reached", 1),
        ({"TERRAPOD_SERVER__TLS_CERT_FILE": "absent.pem"}, "go together", 1),
        (NO_CERTIFICATE, "can't be used", 1),
        ({"TERRAPOD_SERVER__HOST": "203.0.113.7"}, "no such address", 1),
    ],
    ids=["port", "unknown setting", "no database", "half a pair", "no certificate", "address"],
)
def test_the_reason_is_the_last_line(
    tmp_path: Path, given: dict[str, str], said: str, code: int
) -> None:
    ended = serve(tmp_path, given)
    Embedded(tmp_path / "postgres").erase()
    assert said in ended.stderr.strip().splitlines()[-1]
    assert (ended.returncode, "Traceback" in ended.stderr) == (code, False)


def test_a_first_start_that_is_refused_locks_nobody_out(tmp_path: Path) -> None:
    server = Server(folder=tmp_path)
    assert serve(server.data, NO_CERTIFICATE).returncode == 1
    try:
        server.start()
        assert server.api("GET", "account/details")["data"]["attributes"]["username"]
        assert f"token lies in {server.data / 'admin-token'}" in server.log
    finally:
        server.stop()
        Embedded(server.data / "postgres").erase()
