"""Jobs: what brings them round, and that an exclusive one is in one process at a time."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from terrapod_control_plane.kernel import bus, db, jobs
from terrapod_control_plane.kernel.context import Context, Services
from terrapod_control_plane.kernel.jobs import Job
from tests.kit.control import Control

pytestmark = pytest.mark.anyio

NEVER = 1e6


class Turns:
    """The work of a job: counted, and held up until it may end."""

    def __init__(self) -> None:
        self.begun = 0
        self.backends: list[int] = []
        self.may_end = anyio.Event()

    async def run(self, ctx: Context) -> None:
        assert ctx.actor.kind == "system"
        self.begun += 1
        self.backends.append(await db.value("select pg_backend_pid()"))
        await self.may_end.wait()


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not holds():
            await anyio.lowlevel.checkpoint()


async def repeated(job: Job, parts: Services, after: Callable[[], Awaitable[Any]]) -> None:
    """Runs the job's loop until ``after`` is done."""
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(jobs.loop(job, parts).run)
            await after()
            tasks.cancel_scope.cancel()


async def test_a_job_is_woken_by_its_topic_before_its_period(control: Control) -> None:
    turns = Turns()
    turns.may_end.set()

    async def wake() -> None:
        await until(lambda: turns.begun == 1)
        await bus.notify(["another", "topic"])
        await until(lambda: turns.begun == 2)

    await repeated(
        Job(name="test", run=turns.run, every=NEVER, wake_on="topic"), control.services, wake
    )
    assert turns.begun == 2


async def test_a_job_is_not_woken_by_another_topic(control: Control) -> None:
    turns = Turns()
    turns.may_end.set()

    async def wake() -> None:
        await until(lambda: turns.begun == 1)
        heard = control.services.bus.signal("another")
        await bus.notify(["another"])
        await heard.wait()
        await anyio.wait_all_tasks_blocked()

    await repeated(
        Job(name="test", run=turns.run, every=NEVER, wake_on="topic"), control.services, wake
    )
    assert turns.begun == 1


async def test_a_job_that_is_woken_during_its_turn_takes_another(control: Control) -> None:
    turns = Turns()

    async def wake() -> None:
        await until(lambda: turns.begun == 1)
        control.services.bus.wake("topic")
        turns.may_end.set()
        await until(lambda: turns.begun == 2)

    await repeated(
        Job(name="test", run=turns.run, every=NEVER, wake_on="topic"), control.services, wake
    )


@pytest.mark.parametrize("wake_on", ["", "topic"])
async def test_a_job_comes_round_by_itself(control: Control, wake_on: str) -> None:
    turns = Turns()
    turns.may_end.set()
    job = Job(name="test", run=turns.run, every=0.001, wake_on=wake_on)
    await repeated(job, control.services, partial(until, lambda: turns.begun == 4))


async def test_an_exclusive_job_is_in_one_process_at_a_time(
    control: Control, elsewhere: Services
) -> None:
    turns = Turns()
    job = Job(name="test", run=turns.run, every=NEVER, exclusive=True)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(jobs.turn, job, control.services)
            await until(lambda: len(turns.backends) == 1)
            await jobs.turn(job, elsewhere)
            assert turns.begun == 1
            turns.may_end.set()
    await jobs.turn(job, elsewhere)
    assert turns.begun == 2


async def test_an_exclusive_job_leaves_others_alone(control: Control, elsewhere: Services) -> None:
    first, second = Turns(), Turns()
    second.may_end.set()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            job = Job(name="first", run=first.run, every=NEVER, exclusive=True)
            tasks.start_soon(jobs.turn, job, control.services)
            await until(lambda: len(first.backends) == 1)
            await jobs.turn(Job(name="second", run=second.run, every=1, exclusive=True), elsewhere)
            assert second.begun == 1
            first.may_end.set()


async def test_any_other_job_is_in_every_process(control: Control, elsewhere: Services) -> None:
    turns = Turns()
    job = Job(name="test", run=turns.run, every=NEVER)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for parts in (control.services, elsewhere):
                tasks.start_soon(jobs.turn, job, parts)
            await until(lambda: turns.begun == 2)
            turns.may_end.set()


async def test_an_exclusive_job_that_fails_lets_go(control: Control, elsewhere: Services) -> None:
    async def fail(_: Context) -> None:
        raise ValueError("no luck")

    with pytest.raises(ValueError, match="no luck"):
        await jobs.turn(Job(name="test", run=fail, every=NEVER, exclusive=True), control.services)
    turns = Turns()
    turns.may_end.set()
    await jobs.turn(Job(name="test", run=turns.run, every=NEVER, exclusive=True), elsewhere)
    assert turns.begun == 1


async def test_an_exclusive_job_holds_no_transaction_while_it_works(control: Control) -> None:
    turns = Turns()
    open_ = "select count(*) from pg_stat_activity where state like 'idle in transaction%'"
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            job = Job(name="test", run=turns.run, every=NEVER, exclusive=True)
            tasks.start_soon(jobs.turn, job, control.services)
            await until(lambda: len(turns.backends) == 1)
            assert await db.value(open_) == 0
            turns.may_end.set()
