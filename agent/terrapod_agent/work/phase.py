"""One phase from its claim to its outcome, which is always reported or kept for later."""

import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import msgspec
import structlog

from terrapod_agent.background import in_background
from terrapod_agent.client import Downloaded
from terrapod_agent.disk_space import describe_os_error
from terrapod_agent.door.credentials import DoorCredentials
from terrapod_agent.door.door import DoorTarget, open_door
from terrapod_agent.door.upstream import Upstream
from terrapod_agent.errors import (
    AgentError,
    FenceLost,
    OperationFailed,
    PhaseStopped,
    RequestDenied,
    printable,
)
from terrapod_agent.retry import retry
from terrapod_agent.slots import ActivePhase
from terrapod_agent.work import cli_config, plan_file, redact, snapshots, state_server, terraform
from terrapod_agent.work.apply import apply, fetch_plan
from terrapod_agent.work.apply_outcome import final_outcome
from terrapod_agent.work.archive import unpack
from terrapod_agent.work.commands import CommandRunner
from terrapod_agent.work.deliver import deliver, log_sender
from terrapod_agent.work.dependencies import PhaseDependencies
from terrapod_agent.work.initialize import initialize
from terrapod_agent.work.phase_folder import create_phase_folder, new_ticket
from terrapod_agent.work.plan import plan
from terrapod_agent.work.prepare import (
    ERRORED_STATE,
    acquire_run_folder,
    check_names,
    empty_state,
    fixed_environment,
    make_state_location,
    sha256_or_empty,
    working_folder,
    write_run_files,
)
from terrapod_agent.work.variables import environment, masks
from terrapod_common import agent_protocol, files, wire
from terrapod_common.agent_protocol import Code

log = structlog.get_logger()

# Why a phase that is still ours may not start.
_NO_START = (Code.CANCELED, Code.PAUSED, Code.WRONG_STATUS, Code.CONFLICT)
_STOPPED = {
    "cancel": "the run was canceled",
    "force_cancel": "the run was canceled by force",
    "interrupt": "the agent was told to stop while terraform ran",
    "kill": "the agent was told to stop at once while terraform ran",
}


class Phase:
    """A claimed phase under way."""

    def __init__(self, deps: PhaseDependencies, work: wire.Work, active: ActivePhase) -> None:
        self._deps = deps
        self._work = work
        self._active = active
        self._keys = DoorCredentials.generate()
        self._folder = create_phase_folder(deps.phases, deps.runs, work)
        self._ticket = new_ticket(work, state_password=secrets.token_urlsafe(32))
        self._folder.save_ticket(self._ticket)

    async def run(self) -> None:
        """Run it; returns when the outcome is with the server or the phase is not ours."""
        outcome = await self._outcome()
        if outcome is None:
            log.info("a phase was given up", phase=self._work.phase_id, run=self._work.run_id)
            await anyio.to_thread.run_sync(self._folder.remove)
            return
        self._active.step = "delivering"
        look_every = self._deps.settings.waits.survivor
        outcome = await final_outcome(self._folder, self._ticket, outcome, look_every)
        self._ticket = msgspec.structs.replace(self._ticket, outcome=outcome)
        self._folder.try_save_ticket(self._ticket)
        why = {"reason": outcome.message} if outcome.message else {}
        log.info("a phase has ended", phase=self._work.phase_id, outcome=outcome.status, **why)
        await deliver(self._deps, self._folder, self._ticket)

    async def _outcome(self) -> wire.Report | None:
        outcome = None
        with anyio.CancelScope() as scope:
            async with in_background(partial(self._end_when_told, scope), self._limit_time):
                outcome = await self._execute_safely()
        if scope.cancelled_caught and outcome is None:
            return self._stopped_outcome()
        return outcome

    async def _execute_safely(self) -> wire.Report | None:
        try:
            return await self._execute()
        except FenceLost:
            return self._lost_outcome()
        except PhaseStopped:
            return self._stopped_outcome()
        except OperationFailed as failed:
            return self._errored_outcome(str(failed), shown=failed.shown)
        except (AgentError, OSError) as error:
            return self._errored_outcome(_describe_error(error))
        except Exception as error:
            log.exception("a phase failed by a mistake of ours", phase=self._work.phase_id)
            return self._errored_outcome(f"the agent failed: {type(error).__name__}: {error}")

    async def _execute(self) -> wire.Report:
        work, folder = self._work, self._folder
        await anyio.to_thread.run_sync(self._save_masks)
        binary = await self._deps.toolchain.get(work.tool)
        runner = await self._prepare()
        folder.log_line(terraform.header(work.tool, self._deps.platform))
        fixed = fixed_environment(folder, work.workspace)
        fixed = {**fixed, cli_config.VARIABLE: str(folder.cli_config)}
        runner.environment, refused = environment(work, self._deps.inherited_environment, fixed)
        for name in refused:
            folder.log_line(f"Warning: the variable {name} is reserved and was not set.")
        await self._confirm_start()
        runner.memory, runner.check = work.limits.memory_bytes, self._deps.toolchain.unchanged
        async with in_background(self._send_log), self._door_open(runner):
            quiet = self._deps.settings.waits.init_quiet
            locked = work.kind == "apply"
            await initialize(runner, folder, binary, locked=locked, quiet=quiet)
            if work.kind == "plan":
                return await plan(self._deps, work, runner, folder, self._ticket, binary)
            runner.on_start = lambda begun: self._save_ticket(begun=begun)
            return await apply(self._deps, work, runner, folder, self._ticket, self._active)

    def _save_masks(self) -> None:
        """Before the first line of a log: after a crash it must be masked in the same way."""
        password = self._ticket.state_password
        states = (password.encode(), state_server.address_key(password).encode())
        own = (*states, *sorted(self._keys.masks()))
        secrets = [*masks(self._work.variables), *own]
        redact.refuse_too_many(secrets)
        self._save_ticket(secrets=secrets)

    async def _prepare(self) -> CommandRunner:
        """Configuration, state and plan in their places; nothing has run after this."""
        work, folder = self._work, self._folder
        self._active.step = "preparing"
        if not work.has_configuration:
            raise OperationFailed("the run has no configuration")
        await acquire_run_folder(folder, self._deps.settings.waits.survivor)
        fetch = partial(self._deps.client.download, phase_id=work.phase_id, fence=work.fence)
        get = partial(fetch, agent_protocol.CONFIGURATION, folder.archive)
        await retry(get, self._deps.backoff)
        limit = work.limits.configuration_bytes
        await anyio.to_thread.run_sync(unpack, folder.archive, folder.tree, limit)
        root = working_folder(folder, self._ticket)
        await anyio.to_thread.run_sync(write_run_files, folder, root, work.variables)
        if work.kind == "apply":
            await fetch_plan(self._deps, work, folder, self._ticket, root)
            check_names(root)
            found = await anyio.to_thread.run_sync(plan_file.read_saved_plan, folder.plan)
            self._change_ticket(asks=terraform.apply_needs_values(work.tool, found))
            if found is not None:
                keeps = found.backend == snapshots.BACKEND
                self._change_ticket(snapshots=keeps, must_differ=found.must_differ)
        self._change_ticket(
            dump_before=await anyio.to_thread.run_sync(sha256_or_empty, root / ERRORED_STATE)
        )
        await self._fetch_state(fetch)
        grace = self._deps.settings.grace or work.limits.grace_seconds
        return CommandRunner(self._deps.executor, folder, self._active, root=root, grace=grace)

    async def _fetch_state(self, fetch: Callable[..., Awaitable[Downloaded]]) -> None:
        """The present state, where terraform finds it, and a copy to compare with."""
        before, at = self._folder.state_before, make_state_location(self._folder, self._ticket)
        if self._work.has_state:
            await retry(partial(fetch, agent_protocol.STATE_GET, before), self._deps.backoff)
        elif (empty := empty_state(self._work)) is not None:
            files.write_new(before, empty)
        else:
            return
        self._change_ticket(state_before=await anyio.to_thread.run_sync(sha256_or_empty, before))
        await anyio.to_thread.run_sync(shutil.copyfile, before, at)

    @asynccontextmanager
    async def _door_open(self, runner: CommandRunner) -> AsyncIterator[None]:
        """The door of the phase is open, and its run folder in the hands of the run's own user."""
        deps, folder = self._deps, self._folder
        upstream = Upstream(deps.client, deps.backoff, self._work, self._keys.download)
        way = DoorTarget(upstream, deps.public_address, self._work.hosts, lambda: runner.uid)
        async with open_door(way, self._keys) as hosts:
            files.write_new(
                folder.cli_config, cli_config.content(deps.inherited_environment, hosts)
            )
            async with deps.executor.account_for(folder.run_folder.path) as runner.account:
                yield

    async def _confirm_start(self) -> None:
        """Ask to start; after this the server counts on us."""
        report = wire.Report(
            status="planning" if self._work.kind == "plan" else "applying",
            phase_id=self._work.phase_id,
            fence=self._work.fence,
            tool_version=self._work.tool.version,
        )
        # Kept before it is asked: an apply must never be forgotten once it may have started.
        self._save_ticket(started=True)
        asked_at = time.monotonic()
        call = partial(
            self._deps.client.call, agent_protocol.REPORT, report, run_id=self._work.run_id
        )
        try:
            answer = await retry(call, self._deps.backoff)
        except RequestDenied as denied:
            if isinstance(denied, FenceLost) or denied.means(*_NO_START, otherwise={409}):
                # An apply may have started all the same, by a question whose answer was lost.
                self._save_ticket(started=self._work.kind == "apply", refused=True)
                raise FenceLost(str(denied), 409, denied.detail, denied.code) from denied
            self._save_ticket(started=False)
            raise
        self._active.extend_lease(answer.lease_seconds, asked_at)

    async def _send_log(self) -> None:
        while True:
            # A new one each time: what has failed in the middle of a block must not skip it.
            follow = log_sender(self._deps, self._folder, self._ticket).follow
            try:
                await follow(self._deps.backoff, self._deps.settings.waits.log)
            except FenceLost:
                self._active.request_stop("lost")
                return
            except AgentError as trouble:  # tried again when the phase has ended
                log.warning("the log is not taken", phase=self._work.phase_id, reason=str(trouble))
                return
            except Exception as error:  # noqa: BLE001 - terraform goes on, whatever it is
                reason = repr(error)
                log.warning("the log can't be sent yet", phase=self._work.phase_id, reason=reason)
                await anyio.sleep(self._deps.settings.waits.retry_longest)

    async def _end_when_told(self, scope: anyio.CancelScope) -> None:
        while True:
            wished = self._active.stop_requested.next_event()
            # A terraform under way is stopped by its step, and then ends the phase itself.
            if self._active.stop_reason() and not self._active.program_running:
                scope.cancel("the phase was told to end")
            await wished.wait()

    async def _limit_time(self) -> None:
        await anyio.sleep(self._work.limits.phase_seconds)
        self._active.request_stop("timeout")

    def _lost_outcome(self) -> wire.Report | None:
        """An apply that may have started leaves a hold, and a person wants to know what it did."""
        if self._work.kind != "apply" or not self._ticket.started:
            return None
        early = "" if self._ticket.begun else " before terraform could start; nothing was applied"
        return self._errored_outcome(f"the phase was lost{early}")

    def _stopped_outcome(self) -> wire.Report | None:
        reason = self._active.stop_reason()
        if reason in (None, "lost"):
            return None
        message = _STOPPED.get(reason or "", f"it took longer than {self._time_limit()}")
        self._folder.log_line(f"\nThis {self._work.kind} was stopped: {message}.")
        canceled = reason in ("cancel", "force_cancel")
        return wire.Report(
            status="canceled" if canceled else "errored",
            message=message,
            limit_passed=reason == "timeout",
        )

    def _time_limit(self) -> str:
        return f"the {self._work.limits.phase_seconds:.0f} seconds that it may take"

    def _errored_outcome(self, message: str, *, shown: bool = False) -> wire.Report:
        message = printable(message)
        if not shown:
            self._folder.log_line(f"\nError: {message}")
        return wire.Report(status="errored", message=message)

    def _change_ticket(self, **changes: object) -> None:
        """Change the ticket, which is on the disk before terraform may work."""
        self._ticket = msgspec.structs.replace(self._ticket, **changes)

    def _save_ticket(self, **changes: object) -> None:
        ticket = msgspec.structs.replace(self._ticket, **changes)
        self._folder.save_ticket(ticket)  # what can't be kept has not happened
        self._ticket = ticket


def _describe_error(error: AgentError | OSError) -> str:
    if isinstance(error, OSError):
        return f"the agent cannot go on: {describe_os_error(error)}"
    return str(error)
