"""How the state of an apply is kept: in a file that terraform rewrites, or by snapshots.

A file loses nothing, whatever ends terraform, but all of it is written at each change. Snapshots
cost little, and lose what was done since the last one when terraform is killed. A saved plan
carries its backend, so this is decided when the plan is there and what it would do is known.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE

import anyio
import msgspec
import structlog
from anyio.abc import Process

from terrapod_agent.background import in_background
from terrapod_agent.error_capture import capture_error
from terrapod_agent.errors import OperationFailed
from terrapod_agent.executors import python_program
from terrapod_agent.executors.base import Account
from terrapod_agent.work import cli_config, plan_file, state_server, terraform
from terrapod_agent.work.cli_config import Host
from terrapod_agent.work.commands import CommandRunner
from terrapod_agent.work.phase_folder import PhaseFolder, Ticket
from terrapod_agent.work.plan_file import SavedPlan
from terrapod_common import files, wire

log = structlog.get_logger()

BACKEND = "cloud"  # the type of the backend with snapshots
_HOST = "state.terrapod.invalid"
_ENVIRONMENT = {
    "TF_CLOUD_HOSTNAME": _HOST,
    "TF_CLOUD_ORGANIZATION": "terrapod",
    "TF_CLOUD_PROJECT": "",
    "TF_FORCE_LOCAL_BACKEND": "1",
}
_FIRST_VERSION = (1, 6)  # earlier ones send a state at their end alone
_READY_SECONDS = 30.0
_END_SECONDS = 15.0
_AGAIN_SECONDS = 1.0
_CONFIG_BYTES = 1024 * 1024  # of terraform's configuration; the run may have written to it
_SCRATCH = b'terraform {\n  cloud {}\n}\n\noutput "a" {\n  value = 1\n}\n'
# Measured with 1.11.4 on two cores: 1,500 new objects of 1 KB, each of which writes the state so
# far, take 55 s more than with a state that is sent at the end.
_SECONDS_PER_BYTE = 17e-9
_STATE_PER_PLANNED = 2.5  # bytes of a state for those that a plan has for a new object
# To start the server and to make a plan with the other backend takes about one second.
_WORTH_SECONDS = 2.0


def file_backend_seconds(plan: SavedPlan) -> float:
    """What it costs an apply, about, to keep its state in a file."""
    average = plan.prior_bytes + _STATE_PER_PLANNED * plan.created_bytes / 2
    return plan.changes * average * _SECONDS_PER_BYTE


def pays_off(tool: wire.Tool, plan: SavedPlan | None) -> bool:
    """Whether the apply of a plan shall keep its state by snapshots."""
    if plan is None or plan.backend != "local" or tool.name != "terraform":
        return False
    return terraform.version(tool) >= _FIRST_VERSION and file_backend_seconds(plan) > _WORTH_SECONDS


async def choose_backend(
    runner: CommandRunner, folder: PhaseFolder, ticket: Ticket, tool: wire.Tool, binary: Path
) -> None:
    """Give the saved plan the backend for snapshots if that pays; else leave it as it is."""
    plan = await anyio.to_thread.run_sync(plan_file.read_saved_plan, folder.plan)
    if not pays_off(tool, plan):
        return
    record = await _backend_record(runner, folder, ticket, tool, binary)
    other = folder.plan.with_suffix(".snapshots")
    work = partial(plan_file.replace_backend, folder.plan, record or b"", other)
    if record is None or not await anyio.to_thread.run_sync(work):
        log.warning("the plan keeps its state in a file, which is slow", phase=ticket.phase_id)
        return
    files.chown_like(other, like=folder.run_folder.path)
    folder.plan.rename(folder.plan_in_file)
    other.rename(folder.plan)


async def _backend_record(
    runner: CommandRunner, folder: PhaseFolder, ticket: Ticket, tool: wire.Tool, binary: Path
) -> bytes | None:
    """The backend as this terraform itself writes it into a plan."""
    scratch = folder.run_folder.path / "scratch"
    scratch.mkdir(mode=0o700)
    files.write_new(scratch / "main.tf", _SCRATCH)
    for path in (scratch, scratch / "main.tf"):
        files.chown_like(path, like=folder.run_folder.path)
    made, said = scratch / "plan.tfplan", folder.path / "scratch.log"
    async with run_state_server(folder, ticket, tool, runner.account) as environment:
        there = runner.in_folder(scratch, environment)
        commands = (
            (str(binary), "init", "-input=false"),
            (str(binary), "plan", "-input=false", "-lock=false", f"-out={made}"),
        )
        for command in commands:
            if (await there.run_unless_stopped("scratch", command, said)).code != 0:
                return None
    return await anyio.to_thread.run_sync(plan_file.backend_record, made)


@asynccontextmanager
async def run_state_server(
    folder: PhaseFolder,
    ticket: Ticket,
    tool: wire.Tool,
    account: Account | None,
    last_words: float = _END_SECONDS,
) -> AsyncIterator[Mapping[str, str]]:
    """A state server beside what runs; gives the environment with which terraform finds it.

    It goes when terraform has, and is killed when it takes longer than ``last_words`` after that.
    """
    files.private_folder(folder.snapshots)
    before = (files.read_regular(folder.cli_config, _CONFIG_BYTES) or b"").decode()
    services = {"tfe.v2": "http://127.0.0.1:@PORT@/api/v2/"}
    host = Host(name=_HOST, services=services, token=ticket.state_password)
    orders = {
        "folder": str(folder.snapshots),
        "workspace": ticket.workspace,
        "version": tool.version,
        "password": host.token,
        "config": before + cli_config.render([host]),
        "into": str(folder.cli_config),
        "lock": str(folder.lock),
        "uid": str(account.uid) if account else "",
    }
    files.write_atomically(folder.snapshots / "orders.json", msgspec.json.encode(orders))
    server = _Server(folder.snapshots / "orders.json", folder, ticket.phase_id)
    await server.start()
    try:
        async with in_background(server.keep):
            yield _ENVIRONMENT
    finally:
        with anyio.CancelScope(shield=True):
            await server.end(last_words)
        files.overwrite(folder.cli_config, before.encode())


class _Server:
    """The process of a state server; when it dies it is started again under its address."""

    def __init__(self, orders: Path, folder: PhaseFolder, phase_id: str) -> None:
        self._orders = orders
        self._lock = str(folder.lock)
        self._phase_id = phase_id
        self._process: Process | None = None

    async def start(self) -> None:
        """Start it; it takes requests afterwards."""
        process = self._process = await anyio.open_process(
            [*python_program.command_line(state_server.__name__), str(self._orders)],
            env={},
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            start_new_session=True,  # out of reach of what is meant for the agent alone
        )
        assert process.stdout is not None
        try:
            with anyio.fail_after(_READY_SECONDS):
                await process.stdout.receive()
        except (anyio.EndOfStream, TimeoutError) as error:
            process.kill()
            raise OperationFailed("the state server of the run did not start") from error

    async def keep(self) -> None:
        """Start it again whenever it ends; terraform waits for it, and must not be ended by it."""
        while True:
            if self._process is not None:
                await self._process.wait()
            log.error("the state server of a run has died", phase=self._phase_id)
            with capture_error() as tried:
                await self.start()
            if tried.error is not None:  # terraform waits for it
                log.error("it can't be started again yet", reason=repr(tried.error))
                await anyio.sleep(_AGAIN_SECONDS)

    async def end(self, last_words: float) -> None:
        """Let it write what it got, and go; while a terraform runs, that one needs it."""
        if self._process is None or self._process.stdin is None:
            return
        await self._process.stdin.aclose()
        while self._process.returncode is None and state_server.terraform_alive(self._lock):
            with anyio.move_on_after(_AGAIN_SECONDS):
                await self._process.wait()
        with anyio.move_on_after(last_words):
            await self._process.wait()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.aclose()
