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

from terrapod_agent.beside import beside
from terrapod_agent.client import Fetched
from terrapod_agent.contact import insist
from terrapod_agent.door.door import Way, opened
from terrapod_agent.door.keys import Keys
from terrapod_agent.door.upstream import Upstream
from terrapod_agent.slots import Hold
from terrapod_agent.space import failure
from terrapod_agent.trouble import Denied, Failed, FenceLost, Stopped, Trouble, plain
from terrapod_agent.work import cli_config, plan_file, redact, snapshots, state_server, terraform
from terrapod_agent.work import folder as folders
from terrapod_agent.work.apply import apply, fetch_plan
from terrapod_agent.work.archive import unpack
from terrapod_agent.work.deliver import deliver, sender
from terrapod_agent.work.ended import judged
from terrapod_agent.work.folder import Ticket
from terrapod_agent.work.initialize import initialize
from terrapod_agent.work.plan import plan
from terrapod_agent.work.prepare import (
    DUMP,
    check_names,
    digest_of,
    fixed_environment,
    lay_out,
    place_state,
    seed,
    take_place,
    working_folder,
)
from terrapod_agent.work.steps import Steps
from terrapod_agent.work.variables import environment, masks
from terrapod_agent.work.workshop import Workshop
from terrapod_common import files, protocol, wire

log = structlog.get_logger()

_STOPPED = {
    "cancel": "the run was canceled",
    "force_cancel": "the run was canceled by force",
    "interrupt": "the agent was told to stop while terraform ran",
    "kill": "the agent was told to stop at once while terraform ran",
}


class Phase:
    """A claimed phase under way."""

    def __init__(self, shop: Workshop, work: wire.Work, hold: Hold) -> None:
        self._shop = shop
        self._work = work
        self._hold = hold
        self._keys = Keys.made()
        self._folder = folders.create(shop.phases, shop.runs, work)
        password = secrets.token_urlsafe(32)
        self._ticket = Ticket(
            run_id=work.run_id,
            phase_id=work.phase_id,
            kind=work.kind,
            fence=work.fence,
            workspace=work.workspace,
            working_directory=work.working_directory,
            log_limit=work.limits.log_bytes,
            state_limit=work.limits.state_bytes,
            state_password=password,
            tool_version=work.tool.version,
            claim=work.claim,
            begun=False,
        )
        self._folder.keep(self._ticket)

    async def run(self) -> None:
        """Run it; returns when the outcome is with the server or the phase is not ours."""
        outcome = await self._outcome()
        if outcome is None:
            log.info("a phase was given up", phase=self._work.phase_id, run=self._work.run_id)
            await anyio.to_thread.run_sync(self._folder.remove)
            return
        self._hold.step = "delivering"
        look_every = self._shop.settings.waits.survivor
        outcome = await judged(self._folder, self._ticket, outcome, look_every)
        self._ticket = msgspec.structs.replace(self._ticket, outcome=outcome)
        self._folder.note(self._ticket)
        why = {"reason": outcome.message} if outcome.message else {}
        log.info("a phase has ended", phase=self._work.phase_id, outcome=outcome.status, **why)
        await deliver(self._shop, self._folder, self._ticket)

    async def _outcome(self) -> wire.Report | None:
        outcome = None
        with anyio.CancelScope() as scope:
            async with beside(partial(self._end_when_told, scope), self._limit_time):
                outcome = await self._guarded()
        if scope.cancelled_caught and outcome is None:
            return self._stopped()
        return outcome

    async def _guarded(self) -> wire.Report | None:
        try:
            return await self._execute()
        except FenceLost:
            return self._lost()
        except Stopped:
            return self._stopped()
        except Failed as failed:
            return self._errored(str(failed), shown=failed.shown)
        except (Trouble, OSError) as error:
            return self._errored(_words(error))
        except Exception as error:
            log.exception("a phase failed by a mistake of ours", phase=self._work.phase_id)
            return self._errored(f"the agent failed: {type(error).__name__}: {error}")

    async def _execute(self) -> wire.Report:
        work, folder = self._work, self._folder
        await anyio.to_thread.run_sync(self._keep_masks)
        binary = await self._shop.toolchain.get(work.tool)
        steps = await self._prepare()
        folder.say(terraform.header(work.tool, self._shop.platform))
        fixed = fixed_environment(folder, work.workspace)
        fixed = {**fixed, cli_config.VARIABLE: str(folder.cli_config)}
        steps.environment, refused = environment(work, self._shop.passed_on, fixed)
        for name in refused:
            folder.say(f"Warning: the variable {name} is reserved and was not set.")
        await self._start()
        steps.memory, steps.check = work.limits.memory_bytes, self._shop.toolchain.unchanged
        async with beside(self._send_log), self._opened(steps):
            quiet = self._shop.settings.waits.init_quiet
            locked = work.kind == "apply"
            await initialize(steps, folder, binary, locked=locked, quiet=quiet)
            if work.kind == "plan":
                return await plan(self._shop, work, steps, folder, self._ticket, binary)
            steps.mark = lambda begun: self._keep(begun=begun)
            return await apply(self._shop, work, steps, folder, self._ticket, self._hold)

    def _keep_masks(self) -> None:
        """Before the first line of a log: after a crash it must be masked in the same way."""
        password = self._ticket.state_password
        states = (password.encode(), state_server.key_of(password).encode())
        own = (*states, *sorted(self._keys.masks()))
        secrets = [*masks(self._work.variables), *own]
        redact.checked(secrets)
        self._keep(secrets=secrets)

    async def _prepare(self) -> Steps:
        """Configuration, state and plan in their places; nothing has run after this."""
        work, folder = self._work, self._folder
        self._hold.step = "preparing"
        if not work.has_configuration:
            raise Failed("the run has no configuration")
        await take_place(folder, self._shop.settings.waits.survivor)
        fetch = partial(self._shop.client.fetch, phase_id=work.phase_id, fence=work.fence)
        get = partial(fetch, protocol.CONFIGURATION, folder.archive)
        await insist(get, self._shop.backoff)
        limit = work.limits.configuration_bytes
        await anyio.to_thread.run_sync(unpack, folder.archive, folder.tree, limit)
        root = working_folder(folder, self._ticket)
        await anyio.to_thread.run_sync(lay_out, folder, root, work.variables)
        if work.kind == "apply":
            await fetch_plan(self._shop, work, folder, self._ticket, root)
            check_names(root)
            found = await anyio.to_thread.run_sync(plan_file.contents, folder.plan)
            self._note(asks=terraform.asks(work.tool, found))
            if found is not None:
                keeps = found.backend == snapshots.BACKEND
                self._note(snapshots=keeps, must_differ=found.must_differ)
        self._note(dump_before=await anyio.to_thread.run_sync(digest_of, root / DUMP))
        await self._fetch_state(fetch)
        grace = self._shop.settings.grace or work.limits.grace_seconds
        return Steps(self._shop.executor, folder, self._hold, root=root, grace=grace)

    async def _fetch_state(self, fetch: Callable[..., Awaitable[Fetched]]) -> None:
        """The present state, where terraform finds it, and a copy to compare with."""
        before, at = self._folder.state_before, place_state(self._folder, self._ticket)
        if self._work.has_state:
            await insist(partial(fetch, protocol.STATE_GET, before), self._shop.backoff)
        elif (empty := seed(self._work)) is not None:
            files.new(before, empty)
        else:
            return
        self._note(state_before=await anyio.to_thread.run_sync(digest_of, before))
        await anyio.to_thread.run_sync(shutil.copyfile, before, at)

    @asynccontextmanager
    async def _opened(self, steps: Steps) -> AsyncIterator[None]:
        """The door of the phase is open, and its place in the hands of the run's own user."""
        shop, folder = self._shop, self._folder
        upstream = Upstream(shop.client, shop.backoff, self._work, self._keys.download)
        way = Way(upstream, shop.public, self._work.hosts, lambda: steps.uid)
        async with opened(way, self._keys) as hosts:
            files.new(folder.cli_config, cli_config.content(shop.passed_on, hosts))
            async with shop.executor.admitted(folder.place.path) as steps.account:
                yield

    async def _start(self) -> None:
        """Ask to start; after this the server counts on us."""
        report = wire.Report(
            status="planning" if self._work.kind == "plan" else "applying",
            phase_id=self._work.phase_id,
            fence=self._work.fence,
            tool_version=self._work.tool.version,
        )
        # Kept before it is asked: an apply must never be forgotten once it may have started.
        self._keep(started=True)
        asked_at = time.monotonic()
        call = partial(self._shop.client.call, protocol.REPORT, report, run_id=self._work.run_id)
        try:
            answer = await insist(call, self._shop.backoff)
        except Denied as denied:
            if denied.status == 409:
                # An apply may have started all the same, by a question whose answer was lost.
                self._keep(started=self._work.kind == "apply", refused=True)
                raise FenceLost(str(denied), 409, denied.detail) from denied
            self._keep(started=False)
            raise
        self._hold.leased(answer.lease_seconds, asked_at)

    async def _send_log(self) -> None:
        while True:
            # A new one each time: what has failed in the middle of a block must not skip it.
            follow = sender(self._shop, self._folder, self._ticket).follow
            try:
                await follow(self._shop.backoff, self._shop.settings.waits.log)
            except FenceLost:
                self._hold.wish("lost")
                return
            except Trouble as trouble:  # tried again when the phase has ended
                log.warning("the log is not taken", phase=self._work.phase_id, reason=str(trouble))
                return
            except Exception as error:  # noqa: BLE001 - terraform goes on, whatever it is
                reason = repr(error)
                log.warning("the log can't be sent yet", phase=self._work.phase_id, reason=reason)
                await anyio.sleep(self._shop.settings.waits.retry_longest)

    async def _end_when_told(self, scope: anyio.CancelScope) -> None:
        while True:
            wished = self._hold.wished.next()
            # A terraform under way is stopped by its step, and then ends the phase itself.
            if self._hold.stopping() and not self._hold.busy:
                scope.cancel("the phase was told to end")
            await wished.wait()

    async def _limit_time(self) -> None:
        await anyio.sleep(self._work.limits.phase_seconds)
        self._hold.wish("timeout")

    def _lost(self) -> wire.Report | None:
        """An apply that may have started leaves a hold, and a person wants to know what it did."""
        if self._work.kind != "apply" or not self._ticket.started:
            return None
        early = "" if self._ticket.begun else " before terraform could start; nothing was applied"
        return self._errored(f"the phase was lost{early}")

    def _stopped(self) -> wire.Report | None:
        wish = self._hold.stopping()
        if wish in (None, "lost"):
            return None
        message = _STOPPED.get(wish or "", f"it took longer than {self._limit()}")
        self._folder.say(f"\nThis {self._work.kind} was stopped: {message}.")
        canceled = wish in ("cancel", "force_cancel")
        return wire.Report(
            status="canceled" if canceled else "errored",
            message=message,
            limit_passed=wish == "timeout",
        )

    def _limit(self) -> str:
        return f"the {self._work.limits.phase_seconds:.0f} seconds that it may take"

    def _errored(self, message: str, *, shown: bool = False) -> wire.Report:
        message = plain(message)
        if not shown:
            self._folder.say(f"\nError: {message}")
        return wire.Report(status="errored", message=message)

    def _note(self, **changes: object) -> None:
        """Change the ticket, which is on the disk before terraform may work."""
        self._ticket = msgspec.structs.replace(self._ticket, **changes)

    def _keep(self, **changes: object) -> None:
        ticket = msgspec.structs.replace(self._ticket, **changes)
        self._folder.keep(ticket)  # what can't be kept has not happened
        self._ticket = ticket


def _words(error: Trouble | OSError) -> str:
    if isinstance(error, OSError):
        return f"the agent cannot go on: {failure(error)}"
    return str(error)
