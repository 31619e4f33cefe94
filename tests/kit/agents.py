"""Agents for tests: one in this process, or one of its own."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import msgspec

from terrapod_agent import app, enroll
from terrapod_agent.identity import Identity
from terrapod_agent.settings import AgentSettings, Waits
from terrapod_common import wire
from terrapod_common.settings import Secret
from tests.kit.agent_records import PhaseRecord
from tests.kit.agent_server import AgentServer
from tests.kit.scripted_terraform import scripted_terraform

S = TypeVar("S", bound=AgentServer)
QUICK = Waits(
    poll=5,
    connect=2,
    answer=5,
    retry_first=0.02,
    retry_longest=0.1,
    log=0.02,
    state=0.05,
    survivor=0.02,
    status=0.2,
    space=0.1,
    flush=0.3,
    stop=0.2,
)


def quick(data_dir: Path, server: AgentServer, **changes: Any) -> AgentSettings:
    """Settings with short waits, for an agent of that server."""
    ca = data_dir.parent / f"{data_dir.name}.ca.pem"
    ca.write_text(server.authority.pem)
    settings = AgentSettings(
        data_dir=data_dir,
        runs_dir=data_dir.parent / "runs",
        url=server.url,
        join_token=Secret("a-join-token"),
        name="agent-1",
        ca_file=ca,
        # Scripts reach files of the test, and programs of it that another user could not start.
        sandbox="off",
        run_uids="",
        waits=QUICK,
    )
    return msgspec.structs.replace(settings, **changes)


@asynccontextmanager
async def running(settings: AgentSettings, identity: Identity | None = None) -> AsyncIterator[None]:
    """An agent in this process that ends with the block; without an identity it joins."""
    identity = identity or await enroll.join(settings)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(app.run, settings, identity))
        yield
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def serving(server: S) -> AsyncIterator[S]:
    """A server that is up, with a terraform that follows scripts."""
    server.tools["terraform/1.15.5"] = scripted_terraform()
    async with server.up():
        yield server


class AgentProcess:
    """An agent in a process of its own, to be killed."""

    def __init__(
        self,
        settings: AgentSettings,
        before: tuple[str, ...] = (),
        changes: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = settings
        self._before = before  # a program that starts it
        self._changes = changes or {}
        self._process: subprocess.Popen[bytes] | None = None
        self.output = settings.data_dir.parent / f"{settings.data_dir.name}.output"

    def start(self, *arguments: str) -> None:
        """Start it; it joins by itself when it has no identity."""
        if self._process:
            self._process.wait(10)
        waits = {
            f"TERRAPOD_AGENT_WAITS__{name.upper()}": str(value)
            for name, value in msgspec.structs.asdict(self._settings.waits).items()
        }
        environment = {
            "PATH": os.environ["PATH"],
            "TERRAPOD_AGENT_DATA_DIR": str(self._settings.data_dir),
            "TERRAPOD_AGENT_RUNS_DIR": str(self._settings.runs_dir),
            "TERRAPOD_AGENT_URL": self._settings.url,
            "TERRAPOD_AGENT_CA_FILE": str(self._settings.ca_file),
            "TERRAPOD_AGENT_JOIN_TOKEN": "a-join-token",
            "TERRAPOD_AGENT_NAME": self._settings.name,
            "TERRAPOD_AGENT_SLOTS": str(self._settings.slots),
            "TERRAPOD_AGENT_SANDBOX": self._settings.sandbox,
            "TERRAPOD_AGENT_SANDBOX_READS": ",".join(map(str, self._settings.sandbox_reads)),
            "TERRAPOD_AGENT_RUN_UIDS": self._settings.run_uids,
            "TERRAPOD_AGENT_FREE_BYTES": str(self._settings.free_bytes),
            **waits,
        }
        for name, value in self._changes.items():
            environment[name if name.isupper() else f"TERRAPOD_AGENT_{name.upper()}"] = value
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._before, sys.executable, "-m", "terrapod_agent", "run", *arguments],
                env=environment,
                stdout=output,
                stderr=output,
            )

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process
        self._process.send_signal(number)

    def cpu_seconds(self) -> float:
        """How much time of a processor it has used."""
        assert self._process
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def ended(self, seconds: float = 20) -> int:
        """Its exit code."""
        assert self._process
        with anyio.fail_after(seconds):
            while self._process.poll() is None:  # noqa: ASYNC110 - Popen has nothing to await
                await anyio.sleep(0.02)
        return self._process.returncode

    def close(self) -> None:
        """End it whatever it does."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def archive(files: dict[str, str | bytes]) -> bytes:
    """A tar.gz of files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def phase(
    kind: wire.PhaseKind = "plan",
    files: dict[str, str | bytes] | None = None,
    *,
    state: bytes = b"",
    **changes: Any,
) -> PhaseRecord:
    """A phase to be queued."""
    work = wire.Work(
        run_id="run-1",
        phase_id=f"{kind}-1",
        kind=kind,
        fence=1,
        lease_seconds=30,
        organization="default",
        workspace_id="ws-1",
        workspace="web",
        working_directory="",
        tool=wire.Tool(name="terraform", version="1.15.5"),
        flags=wire.Flags(),
        limits=wire.Limits(grace_seconds=5, state_every_seconds=0.1),
        has_state=bool(state),
    )
    work = msgspec.structs.replace(work, **changes)
    content = archive({"main.tf": ""} if files is None else files)
    return PhaseRecord(work=work, configuration=content, state=state, fence=work.fence)


def apply_phase(files: dict[str, str | bytes], **changes: Any) -> PhaseRecord:
    """An apply to be queued, with a plan file as the scripted terraform makes it."""
    digest = hashlib.sha256(b"a plan").hexdigest()
    record = phase("apply", files, artifacts={wire.PLAN_FILE: digest}, **changes)
    record.artifacts[wire.PLAN_FILE] = b"a plan"
    return record


def apply_of(plan: PhaseRecord, **changes: Any) -> PhaseRecord:
    """The apply of a plan that has ended."""
    digests = {name: hashlib.sha256(body).hexdigest() for name, body in plan.artifacts.items()}
    record = phase("apply", variables=plan.work.variables, artifacts=digests, **changes)
    record.configuration = plan.configuration
    record.artifacts = plan.artifacts
    return record
