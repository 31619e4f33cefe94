"""The state server as a process of its own: what it takes, whom it answers, when it ends."""

import contextlib
import fcntl
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from msgspec import Struct

from terrapod_agent.executors import python_program
from terrapod_agent.work import state_server
from terrapod_agent.work.state_server import terraform_alive

WORKSPACE = "/api/v2/workspaces/ws-run"
HEADERS = {"Authorization": "Bearer the-password"}


class Served(Struct):
    """A state server, and a client of it."""

    folder: Path
    process: "subprocess.Popen[bytes]"
    client: httpx.Client

    def announced(self) -> dict[str, str]:
        """Where the next state goes."""
        answer = self.client.post(f"{WORKSPACE}/state-versions", json={"data": {}})
        assert answer.status_code == 201
        found: dict[str, str] = answer.json()["data"]["attributes"]
        return found

    def current(self) -> httpx.Response:
        """What terraform would read."""
        answer = self.client.get(f"{WORKSPACE}/current-state-version")
        if answer.status_code != 200:
            return answer
        url = answer.json()["data"]["attributes"]["hosted-state-download-url"]
        return self.client.get(url, headers={"Authorization": ""})


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server for anybody on this machine."""
    with serving(tmp_path) as server:
        yield server


@contextmanager
def serving(tmp_path: Path, uid: str = "") -> Iterator[Served]:
    folder = tmp_path / "snapshots"
    folder.mkdir()
    config, lock = tmp_path / "terraform.rc", tmp_path / "lock"
    config.touch(mode=0o640)
    lock.touch()
    orders = {
        "folder": str(folder),
        "workspace": "web",
        "version": "1.15.5",
        "password": "the-password",
        "config": "127.0.0.1:@PORT@",
        "into": str(config),
        "lock": str(lock),
        "uid": uid,
    }
    (folder / "orders.json").write_text(json.dumps(orders))
    process = subprocess.Popen(
        [*python_program.command_line(state_server.__name__), str(folder / "orders.json")],
        env={},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    assert config.stat().st_mode & 0o777 == 0o640
    with httpx.Client(base_url=f"http://{config.read_text()}", headers=HEADERS) as client:
        yield Served(folder, process, client)
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe
        pipe.close()


def test_only_the_user_of_the_run_is_let_in(tmp_path: Path) -> None:
    for name in ("own", "other"):
        (tmp_path / name).mkdir()
    with serving(tmp_path / "own", str(os.getuid())) as server:
        assert server.current().status_code == 404
    with serving(tmp_path / "other", str(os.getuid() + 1)) as server:
        with pytest.raises(httpx.TransportError):
            server.current()
        assert server.process.poll() is None


def test_a_state_is_read_again_as_it_was_written(served: Served) -> None:
    assert served.current().status_code == 404
    first, second = served.announced(), served.announced()
    sent = served.client.put(second["hosted-state-upload-url"], content=b"the second")
    assert sent.status_code == 200
    assert served.client.put(second["hosted-json-state-upload-url"], content=b"{}").is_success
    # One that comes late, as after a try that was taken for lost.
    assert served.client.put(first["hosted-state-upload-url"], content=b"the first").is_success
    assert served.current().content == b"the second"
    assert (served.folder / "terraform.tfstate").read_bytes() == b"the second"
    assert int(served.current().headers["x-terraform-snapshot-interval"]) == 20
    names = sorted(path.name for path in served.folder.iterdir())
    assert names == ["address", "lock", "orders.json", "terraform.tfstate"]


def test_half_a_state_changes_nothing(served: Served) -> None:
    upload = served.announced()["hosted-state-upload-url"]
    assert served.client.put(upload, content=b"whole").is_success
    upload = served.announced()["hosted-state-upload-url"]

    def cut() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        served.client.put(upload, content=cut(), headers={"Content-Length": "1000"})
    assert served.current().content == b"whole"


def test_a_state_that_cannot_be_written_is_refused_so_that_it_is_sent_again(
    served: Served,
) -> None:
    upload = served.announced()["hosted-state-upload-url"]
    (served.folder / "terraform.tfstate").mkdir()  # in the way of the file
    assert served.client.put(upload, content=b"{}").status_code == 500
    (served.folder / "terraform.tfstate").rmdir()
    assert served.client.put(upload, content=b"{}").is_success


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer other", "Basic the-password"])
def test_only_who_knows_the_password_is_answered(served: Served, token: str) -> None:
    for method, path in (
        ("GET", "/api/v2/ping"),
        ("GET", f"{WORKSPACE}/current-state-version"),
        ("POST", f"{WORKSPACE}/state-versions"),
        ("POST", f"{WORKSPACE}/actions/lock"),
    ):
        answer = served.client.request(method, path, headers={"Authorization": token})
        assert answer.status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/put/1"),
        ("PUT", "/other-key/put/1"),
        ("GET", "/other-key/state"),
        ("GET", "/api/v2/organizations/terrapod/workspaces/other"),
        ("GET", "/api/v2/account/details"),
        ("POST", "/api/v2/organizations/terrapod/workspaces"),
        ("GET", "/../../etc/passwd"),
    ],
)
def test_there_is_nothing_else(served: Served, method: str, path: str) -> None:
    assert served.client.request(method, path, content=b"x").status_code in (401, 404)


def test_a_document_has_a_limit(served: Served) -> None:
    url = served.client.base_url
    with contextlib.closing(http.client.HTTPConnection(url.host, url.port, timeout=10)) as raw:
        raw.putrequest("POST", f"{WORKSPACE}/state-versions")
        for name, value in (*HEADERS.items(), ("Content-Length", str(1 << 40))):
            raw.putheader(name, value)
        raw.endheaders()
        assert raw.getresponse().status == 413


def ended(served: Served) -> bool:
    try:
        return served.process.wait(2) == 0
    except subprocess.TimeoutExpired:
        return False


def test_it_ends_with_the_agent_unless_terraform_still_runs(served: Served) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        served.process.send_signal(number)
    lock = served.folder.parent / "lock"
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert served.process.stdin
        served.process.stdin.close()
        assert not ended(served)
        upload = served.announced()["hosted-state-upload-url"]
        assert served.client.put(upload, content=b"saved").is_success
        served.client.close()
    assert ended(served)
    assert (served.folder / "terraform.tfstate").read_bytes() == b"saved"


def test_a_terraform_without_its_shim_is_found_by_its_record(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert not terraform_alive(str(lock))
    lock.touch()
    assert not terraform_alive(str(lock))
    with subprocess.Popen(["sleep", "60"]) as process:
        said = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        record = f"uid 0\nhome\npid {process.pid}\nstart {said[19]}\n"
        lock.write_text(record)
        assert terraform_alive(str(lock))
        lock.write_text(f"pid {process.pid}\nstart 1\n")  # another process has its number
        assert not terraform_alive(str(lock))
        lock.write_text(record)
        process.kill()
        while terraform_alive(str(lock)):
            time.sleep(0.01)
