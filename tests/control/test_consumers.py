"""Consumers: at least once, in order, in one process at a time."""

import anyio
import asyncpg
import pytest
from msgspec.structs import replace

from terrapod_control_plane.kernel import db, outbox_cursors
from terrapod_control_plane.kernel.bus import Bus, notify
from terrapod_control_plane.kernel.context import Services
from terrapod_control_plane.kernel.locks import LockLost
from terrapod_control_plane.kernel.outbox_cursors import Cursor
from tests.kit.consumers import NAME, Hearer, Slow, begin, emit, newest, position, reading
from tests.kit.control import Control

pytestmark = pytest.mark.anyio

CUT = """
select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'
    and (classid::bigint << 32 | objid::bigint) = hashtextextended('consumer:test', 0)
"""


class Dying(Hearer):
    """One whose process loses its lock at `b`, after the deed."""

    async def deed(self, thing: str) -> None:
        if thing == "b":
            await db.execute(CUT)
            await anyio.sleep_forever()


@pytest.fixture
async def services(control: Control) -> Services:
    await begin(control.services)
    return control.services


async def test_events_come_in_order_with_who_did_them(services: Services) -> None:
    hearer = Hearer()
    async with reading(services, hearer.consumer()):
        await emit(services, "a", "b")
        await emit(services, "c")
        await hearer.come(3)
    assert hearer.things == ["a", "b", "c"]
    assert [one.id for one in hearer.deliveries] == sorted(one.id for one in hearer.deliveries)
    assert {one.actor_kind for one in hearer.deliveries} == {"system"}
    assert all(one.request_id.startswith("re-") for one in hearer.deliveries)
    assert await position() == await newest()


async def test_what_happened_while_nobody_read_is_not_missed(services: Services) -> None:
    await emit(services, *map(str, range(450)))
    hearer = Hearer()
    async with reading(services, hearer.consumer()):
        await hearer.come(450)
    assert hearer.things == [*map(str, range(450))]
    async with reading(services, hearer.consumer()):
        await emit(services, "next")
        await hearer.come(451)
    assert hearer.things[450:] == ["next"]


async def test_a_new_consumer_begins_at_the_present(control: Control) -> None:
    await emit(control.services, "before")
    await begin(control.services)
    hearer = Hearer()
    async with reading(control.services, hearer.consumer()):
        await emit(control.services, "after")
        await hearer.come(1)
    assert hearer.things == ["after"]


async def test_a_consumer_that_is_no_more_is_forgotten(services: Services) -> None:
    await outbox_cursors.register(["another"], services.clock.now())
    names = "select consumer from outbox_cursors"
    assert [row["consumer"] for row in await db.rows(names)] == ["another"]


async def test_what_a_crash_cut_off_comes_again(services: Services, elsewhere: Services) -> None:
    """Between the deed and its cursor: the lock is lost, and nothing can be remembered."""
    first, second = Dying(), Hearer()
    await emit(services, "a", "b")
    with pytest.raises(ExceptionGroup) as ended:
        async with reading(elsewhere, first.consumer()):
            await anyio.sleep_forever()
    assert ended.group_contains(LockLost)
    async with reading(services, second.consumer()):
        await second.come(2)
    assert (first.things, second.things) == (["a", "b"], ["a", "b"])


async def test_an_end_in_peace_repeats_nothing(services: Services) -> None:
    hearer = Slow()
    await emit(services, "a", "b")
    async with reading(services, hearer.consumer()):
        await hearer.come(1)
        hearer.may_end.set()
        hearer.may_end = anyio.Event()
        await hearer.come(2)
    again = Hearer()
    async with reading(services, again.consumer()):
        await again.come(1)
    assert again.things == ["b"]


async def test_one_process_reads_at_a_time_and_another_goes_on(
    services: Services, elsewhere: Services
) -> None:
    holder, waiting = Slow(), Hearer()
    await emit(services, "a")
    async with reading(elsewhere, waiting.consumer(attempts=1)):
        await waiting.come(1)
        async with reading(services, holder.consumer()):
            await emit(services, "b")
            await waiting.come(2)
    assert (holder.things, waiting.things) == ([], ["a", "b"])
    holder.may_end.set()
    async with reading(services, holder.consumer()):
        await emit(services, "c")
        await holder.come(1)
    assert holder.things == ["c"]


async def test_who_has_lost_its_lock_moves_no_cursor(
    services: Services, elsewhere: Services
) -> None:
    await emit(services, "a")
    before = await position()
    async with elsewhere.locks.held("consumer:test"):
        cursor = Cursor(elsewhere.locks, NAME, ["thing.told"])
        await cursor.open(services.clock.now())
        cursor.finish(await newest())
        await elsewhere.locks.close()
        with pytest.raises(LockLost):
            await cursor.save(services.clock.now())
    assert await position() == before


async def test_no_transaction_is_open_while_a_consumer_takes_its_time(services: Services) -> None:
    hearer = Slow()
    open_ = "select count(*) from pg_stat_activity where state like 'idle in transaction%'"
    async with reading(services, hearer.consumer()):
        await emit(services, "a")
        await hearer.come(1)
        assert await db.value(open_) == 0
        hearer.may_end.set()


async def test_a_commit_wakes_consumers_once_however_much_happened(services: Services) -> None:
    woken = 0

    class Counting(Bus):
        def wake(self, topic: str) -> None:
            nonlocal woken
            woken += topic == "outbox"
            super().wake(topic)

    bus = Counting()
    counting, hearer = replace(services, bus=bus), Hearer()
    async with anyio.create_task_group() as tasks, reading(counting, hearer.consumer()):
        listening = bus.signal("outbox")
        tasks.start_soon(bus.listen, db.ENGINE.config["dsn"])
        await listening.wait()
        before = woken
        await emit(counting, *map(str, range(50)))
        await hearer.come(50)
        assert woken - before == 1
        tasks.cancel_scope.cancel()


async def test_a_commit_that_nobody_else_waits_for_notifies_nobody(
    services: Services, dsn: str
) -> None:
    heard: list[str] = []
    connection = await asyncpg.connect(dsn)
    await connection.add_listener("terrapod", lambda *call: heard.append(str(call[3])))
    quiet = replace(services, bus=Bus())
    await emit(quiet, "a")
    await notify(["last"])
    with anyio.fail_after(20):
        while "last" not in heard:
            await connection.fetchval("select 1")
    await connection.close()
    assert heard == ["last"]
