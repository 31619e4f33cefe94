"""The daemon: opens everything, runs the loops, ends in good order."""

import fcntl
import os
import platform
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import structlog

from terrapod_agent import disk_space, settings, status
from terrapod_agent import identity as identities
from terrapod_agent.background import single_error
from terrapod_agent.client import Client
from terrapod_agent.connectivity import Connectivity
from terrapod_agent.door.public_proxy import PublicAddress
from terrapod_agent.errors import OperationFailed, RequestDenied
from terrapod_agent.executors import isolation as isolations
from terrapod_agent.executors.base import Executor
from terrapod_agent.identity import Identity
from terrapod_agent.loops.heartbeat import heartbeat
from terrapod_agent.loops.orders import follow_orders
from terrapod_agent.loops.poll import end_when_idle, poll
from terrapod_agent.loops.redeliver import redeliver
from terrapod_agent.loops.renew import Renewal
from terrapod_agent.loops.sweep import sweep
from terrapod_agent.settings import AgentSettings
from terrapod_agent.slots import Slots
from terrapod_agent.work import run_folder
from terrapod_agent.work.dependencies import PhaseDependencies
from terrapod_agent.work.toolchain import Toolchain, platform_name
from terrapod_common import files
from terrapod_common.agent_protocol import Code
from terrapod_common.loops import Fatal, Loop, supervise

log = structlog.get_logger()
Run = Callable[[], Coroutine[Any, Any, None]]


async def run(chosen: AgentSettings, identity: Identity) -> None:
    """Be the agent ``identity`` until told to end; :class:`Fatal` says why it can't go on."""
    with _only_agent_in(files.private_folder(chosen.data_dir)):
        connectivity = Connectivity()
        context = identities.agent_context(chosen.data_dir, identity)
        waits, listener = chosen.waits, identity.listener_id
        client = Client(identity.agent_url, context, waits, connectivity, listener)
        try:
            await _run(chosen, client, connectivity, Renewal(identity, client, chosen))
        finally:
            with anyio.CancelScope(shield=True):
                await client.close()


async def _run(
    chosen: AgentSettings, client: Client, connectivity: Connectivity, renewal: Renewal
) -> None:
    slots = Slots(1 if chosen.once else chosen.slots)
    root = run_folder.usable_root(chosen.runs_dir, chosen.data_dir / "runs")
    isolation = await isolations.choose(chosen, root)
    public = PublicAddress(renewal.identity.server_url, renewal.identity.server_ca)
    deps = phase_dependencies(chosen, client, isolation.executor, root, public)
    backoff, waits, stop = chosen.backoff(), chosen.waits, anyio.Event()
    takers = _Pollers(slots.count, stop)
    runs: list[tuple[str, Run]] = [
        ("heartbeat", partial(heartbeat, client, slots, backoff, str(deps.runs))),
        ("orders", partial(follow_orders, client, slots, backoff, waits.poll)),
        ("renew", renewal.run),
        ("redeliver", partial(redeliver, deps, slots)),
        ("sweep", partial(sweep, deps, slots)),
        ("disk-space", partial(disk_space.watch, deps, slots)),
        *((f"poll-{n}", partial(takers.run, deps, slots, n)) for n in range(slots.count)),
    ]
    if chosen.idle_exit is not None:
        runs.append(("idle", partial(end_when_idle, slots, chosen.idle_exit)))
    loops = [Loop(name, partial(_end_when_refused, run_, slots, chosen)) for name, run_ in runs]
    loops.append(Loop("signals", partial(_handle_signals, slots, stop, waits.stop)))
    told = isolation.describe()
    report = partial(
        status.report, chosen.data_dir, slots, connectivity, renewal, told, waits.status
    )
    loops.append(Loop("status", report))
    log.info("the agent is up", name=renewal.identity.name, slots=slots.count)
    (log.warning if isolation.why else log.info)(told)
    try:
        await supervise(loops, stop, backoff)
    except BaseExceptionGroup as group:
        raise single_error(group) from group.__cause__
    log.info("the agent has ended")


def phase_dependencies(
    chosen: AgentSettings, client: Client, executor: Executor, root: Path, public: PublicAddress
) -> PhaseDependencies:
    """What the phases of this agent work with."""
    name = platform_name(platform.system(), platform.machine())
    return PhaseDependencies(
        client=client,
        toolchain=Toolchain(chosen.data_dir / "tools", client, chosen.backoff(), name),
        executor=executor,
        settings=chosen,
        inherited_environment=settings.inherited_environment(chosen),
        platform=name,
        runs=root,
        public_address=public,
    )


class _Pollers:
    """The slots; when the last of them has taken its last phase, the agent ends."""

    def __init__(self, count: int, stop: anyio.Event) -> None:
        self._left = count
        self._stop = stop

    async def run(self, deps: PhaseDependencies, slots: Slots, slot: int) -> None:
        await poll(deps, slots, slot)
        self._left -= 1
        if not self._left:
            self._stop.set()


async def _end_when_refused(run_: Run, slots: Slots, chosen: AgentSettings) -> None:
    """A server that does not know us ends the agent, but never a terraform under way."""
    delays = chosen.backoff().delays()
    while True:
        try:
            return await run_()
        except RequestDenied as denied:
            unknown = denied.means(Code.CERTIFICATE, Code.UNKNOWN_LISTENER, otherwise={401, 404})
            if unknown and not slots.active_phases:
                raise Fatal(str(denied)) from denied
            log.error("the server refuses us", reason=str(denied))  # noqa: TRY400 - it is told whole
            await anyio.sleep(next(delays))


async def _handle_signals(slots: Slots, stop: anyio.Event, last_words: float) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        count = 0
        async for _ in signals:
            count += 1
            if count == 1:
                log.info("ending: finishing what runs, taking nothing new")
                slots.drain()
            elif count == 2:
                log.warning("interrupting what runs")
                slots.request_stop_all("interrupt")
            else:
                log.warning("killing what runs")
                slots.request_stop_all("kill")
                await anyio.sleep(last_words)
                stop.set()


@contextmanager
def _only_agent_in(data_dir: Path) -> Iterator[None]:
    descriptor = os.open(data_dir / status.LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OperationFailed(f"another agent runs in {data_dir}") from error
        yield
    finally:
        os.close(descriptor)
