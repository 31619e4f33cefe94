"""A server that can't start says why in one line, and with the right exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from terrapod_control_plane.kernel.postgres import Embedded

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    ("given", "said", "code"),
    [
        ({"TERRAPOD_SERVER__PORT": "99999"}, "server.port", 2),
        ({"TERRAPOD_SERVER__PRT": "1"}, "TERRAPOD_SERVER__PRT: unknown setting", 2),
        ({"TERRAPOD_DATABASE__URL": "postgresql://x@127.0.0.1:1/y"}, "can't be reached", 1),
        ({"TERRAPOD_SERVER__TLS_CERT_FILE": "absent.pem"}, "go together", 1),
        (
            {
                "TERRAPOD_SERVER__TLS_CERT_FILE": "absent.pem",
                "TERRAPOD_SERVER__TLS_KEY_FILE": "absent.pem",
            },
            "can't be used",
            1,
        ),
        ({"TERRAPOD_SERVER__HOST": "203.0.113.7"}, "no such address", 1),
    ],
    ids=["port", "unknown setting", "no database", "half a pair", "no certificate", "address"],
)
def test_the_reason_is_the_last_line(
    tmp_path: Path, given: dict[str, str], said: str, code: int
) -> None:
    ports = {"TERRAPOD_SERVER__PORT": "0", "TERRAPOD_SERVER__AGENT_PORT": "0"}
    ended = subprocess.run(
        [sys.executable, "-m", "terrapod_control_plane", "serve"],
        env={**os.environ, "TERRAPOD_DATA_DIR": str(tmp_path), **ports, **given},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    Embedded(tmp_path / "postgres").erase()
    assert said in ended.stderr.strip().splitlines()[-1]
    assert (ended.returncode, "Traceback" in ended.stderr) == (code, False)
