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

from terrapod_agent import identity as identities
from terrapod_agent import settings, space, status
from terrapod_agent.beside import alone
from terrapod_agent.client import Client
from terrapod_agent.contact import Contact
from terrapod_agent.door.public import Address
from terrapod_agent.executors import isolation as isolations
from terrapod_agent.executors.base import Executor
from terrapod_agent.identity import Identity
from terrapod_agent.loops.beat import beat
from terrapod_agent.loops.flush import flush
from terrapod_agent.loops.orders import orders
from terrapod_agent.loops.renew import Renewal
from terrapod_agent.loops.sweep import sweep
from terrapod_agent.loops.take import idle, take
from terrapod_agent.settings import AgentSettings
from terrapod_agent.slots import Slots
from terrapod_agent.trouble import Denied, Failed
from terrapod_agent.work import place
from terrapod_agent.work.toolchain import Toolchain, platform_name
from terrapod_agent.work.workshop import Workshop
from terrapod_common import files
from terrapod_common.loops import Fatal, Loop, supervise

log = structlog.get_logger()
Run = Callable[[], Coroutine[Any, Any, None]]


async def run(chosen: AgentSettings, identity: Identity) -> None:
    """Be the agent ``identity`` until told to end; :class:`Fatal` says why it can't go on."""
    with _alone_in(files.private(chosen.data_dir)):
        contact = Contact()
        context = identities.agent_context(chosen.data_dir, identity)
        waits, listener = chosen.waits, identity.listener_id
        client = Client(identity.agent_url, context, waits, contact, listener)
        try:
            await _run(chosen, client, contact, Renewal(identity, client, chosen))
        finally:
            with anyio.CancelScope(shield=True):
                await client.close()


async def _run(chosen: AgentSettings, client: Client, contact: Contact, renewal: Renewal) -> None:
    slots = Slots(1 if chosen.once else chosen.slots)
    root = place.usable(chosen.runs_dir, chosen.data_dir / "runs")
    isolation = await isolations.choose(chosen, root)
    public = Address(renewal.identity.server_url, renewal.identity.server_ca)
    shop = workshop(chosen, client, isolation.executor, root, public)
    backoff, waits, stop = chosen.backoff(), chosen.waits, anyio.Event()
    takers = _Takers(slots.count, stop)
    runs: list[tuple[str, Run]] = [
        ("beat", partial(beat, client, slots, backoff, str(shop.runs))),
        ("orders", partial(orders, client, slots, backoff, waits.poll)),
        ("renew", renewal.run),
        ("flush", partial(flush, shop, slots)),
        ("sweep", partial(sweep, shop, slots)),
        ("space", partial(space.watch, shop, slots)),
        *((f"take-{n}", partial(takers.run, shop, slots, n)) for n in range(slots.count)),
    ]
    if chosen.idle_exit is not None:
        runs.append(("idle", partial(idle, slots, chosen.idle_exit)))
    loops = [Loop(name, partial(_unless_refused, run_, slots, chosen)) for name, run_ in runs]
    loops.append(Loop("signals", partial(_obey_signals, slots, stop, waits.stop)))
    told = isolation.told()
    report = partial(status.report, chosen.data_dir, slots, contact, renewal, told, waits.status)
    loops.append(Loop("status", report))
    log.info("the agent is up", name=renewal.identity.name, slots=slots.count)
    (log.warning if isolation.why else log.info)(told)
    try:
        await supervise(loops, stop, backoff)
    except BaseExceptionGroup as group:
        raise alone(group) from group.__cause__
    log.info("the agent has ended")


def workshop(
    chosen: AgentSettings, client: Client, executor: Executor, root: Path, public: Address
) -> Workshop:
    """What the phases of this agent work with."""
    name = platform_name(platform.system(), platform.machine())
    return Workshop(
        client=client,
        toolchain=Toolchain(chosen.data_dir / "tools", client, chosen.backoff(), name),
        executor=executor,
        settings=chosen,
        passed_on=settings.passed_on(chosen),
        platform=name,
        runs=root,
        public=public,
    )


class _Takers:
    """The slots; when the last of them has taken its last phase, the agent ends."""

    def __init__(self, count: int, stop: anyio.Event) -> None:
        self._left = count
        self._stop = stop

    async def run(self, shop: Workshop, slots: Slots, slot: int) -> None:
        await take(shop, slots, slot)
        self._left -= 1
        if not self._left:
            self._stop.set()


async def _unless_refused(run_: Run, slots: Slots, chosen: AgentSettings) -> None:
    """A server that does not know us ends the agent, but never a terraform under way."""
    delays = chosen.backoff().delays()
    while True:
        try:
            return await run_()
        except Denied as denied:
            if denied.status in (401, 404) and not slots.holds:
                raise Fatal(str(denied)) from denied
            log.error("the server refuses us", reason=str(denied))  # noqa: TRY400 - it is told whole
            await anyio.sleep(next(delays))


async def _obey_signals(slots: Slots, stop: anyio.Event, last_words: float) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        count = 0
        async for _ in signals:
            count += 1
            if count == 1:
                log.info("ending: finishing what runs, taking nothing new")
                slots.drain()
            elif count == 2:
                log.warning("interrupting what runs")
                slots.wish_all("interrupt")
            else:
                log.warning("killing what runs")
                slots.wish_all("kill")
                await anyio.sleep(last_words)
                stop.set()


@contextmanager
def _alone_in(data_dir: Path) -> Iterator[None]:
    descriptor = os.open(data_dir / status.LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Failed(f"another agent runs in {data_dir}") from error
        yield
    finally:
        os.close(descriptor)
