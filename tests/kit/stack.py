"""Real processes: a server, and agents that joined it."""

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
from msgspec import Struct

T = TypeVar("T")

_BIN = Path(sys.executable).parent
_STOP_SECONDS = 20.0

SERVER_SETTINGS = {
    "TERRAPOD_RUNS__PLAN_LEASE_SECONDS": "3",
    "TERRAPOD_RUNS__APPLY_LEASE_SECONDS": "3",
    "TERRAPOD_RUNS__SWEEP_SECONDS": "0.2",
    "TERRAPOD_RUNS__GRACE_SECONDS": "5",
    "TERRAPOD_RUNS__STATE_EVERY_SECONDS": "0.2",
    "TERRAPOD_AGENTS__BEAT_IDLE_SECONDS": "0.5",
    "TERRAPOD_AGENTS__BEAT_BUSY_SECONDS": "0.5",
    "TERRAPOD_AGENTS__OFFLINE_AFTER_SECONDS": "3",
    "TERRAPOD_SERVER__STOP_GRACE_SECONDS": "1",
    "TERRAPOD_DATABASE__START_TIMEOUT_SECONDS": "60",
}
AGENT_SETTINGS = {
    "TERRAPOD_AGENT_WAITS__POLL": "5",
    "TERRAPOD_AGENT_WAITS__RETRY_FIRST": "0.05",
    "TERRAPOD_AGENT_WAITS__RETRY_LONGEST": "0.3",
    "TERRAPOD_AGENT_WAITS__LOG": "0.05",
    "TERRAPOD_AGENT_WAITS__STATE": "0.1",
    "TERRAPOD_AGENT_WAITS__FLUSH": "0.5",
    "TERRAPOD_AGENT_WAITS__STOP": "1",
    # Configurations of these tests reach files of the test; tests/agent/test_isolation.py is apart.
    "TERRAPOD_AGENT_SANDBOX": "off",
    "TERRAPOD_AGENT_RUN_UIDS": "",
}


def until(look: Callable[[], T | None], what: str, seconds: float = 40.0) -> T:
    """The first thing found that is true; fails when the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what}: not after {seconds:.0f} s")


class Server(Struct, kw_only=True):
    """`terrapod serve`, which keeps its ports when it is started again."""

    folder: Path
    port: int = 0
    agent_port: int = 0
    settings: Mapping[str, str] = {}  # further ones, as in the environment
    open_files: int = 0  # how many files it may open; 0: as many as we
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def ca(self) -> Path:
        """The authority to trust."""
        return self.data / "ca.pem"

    @property
    def url(self) -> str:
        """The address of the public port."""
        return f"https://localhost:{self.port}"

    @property
    def token(self) -> str:
        """The administrator's token."""
        return (self.data / "admin-token").read_text().strip()

    @property
    def log(self) -> str:
        """What all starts of it have written."""
        return (self.folder / "server.log").read_text()

    def start(self, *options: str) -> None:
        """Start it and wait until it serves."""
        ports = {
            "TERRAPOD_SERVER__PORT": str(self.port),
            "TERRAPOD_SERVER__AGENT_PORT": str(self.agent_port),
        }
        before = len(self.log) if (self.folder / "server.log").exists() else 0
        environment = self._environment() | SERVER_SETTINGS | ports | dict(self.settings)
        limited = ["prlimit", f"--nofile={self.open_files}:{self.open_files}"]
        self.process = _spawn(
            self.folder / "server.log",
            ["terrapod", "serve", *options],
            environment,
            limited if self.open_files else [],
        )
        until(lambda: self._ready(before), "the server is ready", 90)

    def kill(self) -> None:
        """End it with -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stand_still(self, seconds: float) -> None:
        """Neither dead nor alive, as on a machine that was suspended."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it in order."""
        if self.process is not None:
            _stop(self.process)

    def command(self, *arguments: str) -> str:
        """What `terrapod ...` prints."""
        ran = subprocess.run(
            [_BIN / "terrapod", *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def api(self, method: str, path: str, body: object = None) -> Any:
        """The document that the administrator is answered with."""
        with self.client() as client:
            answer = client.request(method, f"/api/v2/{path}", json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else {}

    def client(self) -> httpx.Client:
        """A client with the administrator's token."""
        return httpx.Client(
            base_url=self.url,
            verify=ssl.create_default_context(cafile=self.ca),
            headers={
                "authorization": f"Bearer {self.token}",
                "content-type": "application/vnd.api+json",
            },
            timeout=30,
        )

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "TERRAPOD_DATA_DIR": str(self.data)}

    def _ready(self, before: int) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log[-4000:]
        new = self.log[before:]
        if (
            "for agents on https://localhost:" not in new
            or not (self.data / "admin-token").exists()
        ):
            return False
        line = next(line for line in new.splitlines() if "for agents on" in line)
        self.port, self.agent_port = (
            int(part.split()[0].rstrip(",")) for part in line.split("https://localhost:")[1:]
        )
        return True


class Agent(Struct, kw_only=True):
    """`terrapod-agent run`, joined to a pool of the server."""

    folder: Path
    server: Server
    name: str
    pool: str
    slots: int = 1
    settings: Mapping[str, str] = {}  # further ones, as in the environment
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def log(self) -> str:
        """What all starts of it have written."""
        return (self.folder / "agent.log").read_text()

    def join(self) -> None:
        """Get it an identity."""
        self.folder.mkdir(parents=True, exist_ok=True)
        token = self.server.command("pools", "token", self.pool)
        command: list[str | Path] = [
            _BIN / "terrapod-agent",
            "join",
            self.server.url,
            "--token",
            "-",
        ]
        ran = subprocess.run(
            [*command, "--name", self.name, "--ca-file", self.server.ca],
            env=self._environment(),
            input=token + "\n",
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr

    def start(self) -> None:
        """Start it."""
        self.process = _spawn(
            self.folder / "agent.log",
            ["terrapod-agent", "run", "--slots", str(self.slots)],
            self._environment(),
        )

    def kill(self) -> None:
        """End it with -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it at once, without waiting for what it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.terminate()
            _stop(self.process)

    def _environment(self) -> dict[str, str]:
        home = {
            "TERRAPOD_AGENT_DATA_DIR": str(self.data),
            # All agents of a machine have the same one, as by default.
            "TERRAPOD_AGENT_RUNS_DIR": str(self.server.folder / "runs"),
            "PATH": os.environ["PATH"],
        }
        return AGENT_SETTINGS | home | dict(self.settings)


def _spawn(
    log: Path, command: list[str], environment: Mapping[str, str], prefix: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        return subprocess.Popen(
            [*prefix, _BIN / command[0], *command[1:]],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
