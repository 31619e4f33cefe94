"""Any sequence of locks, changes, queries and savepoints ends as if each had been written."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from terrapod_control_plane.kernel import db, unit_of_work
from tests.kit.control import Control
from tests.kit.things import THINGS, Thing, stored, table_of_things

pytestmark = pytest.mark.anyio

IDS = ("t1", "t2", "t3")
Field = Literal["count", "size", "words"]


class Undone(Exception):
    """Ends a block."""


class Step(Struct, frozen=True):
    """Something that is done in a transaction; what it does not need is ignored."""

    what: Literal["change", "change_old", "direct", "read", "flush", "delete", "insert", "remember"]
    id: str
    field: Field
    value: int


class Savepoint(Struct, frozen=True):
    """Steps that share their fate."""

    steps: list["Step | Savepoint"]
    fails: bool


STEP = st.builds(
    Step,
    what=st.sampled_from(
        ["change", "change_old", "direct", "read", "flush", "delete", "insert", "remember"]
    ),
    id=st.sampled_from(IDS),
    field=st.sampled_from(["count", "size", "words"]),
    value=st.integers(0, 3),
)
STEPS = st.recursive(
    st.lists(STEP, max_size=8),
    lambda inner: st.lists(
        STEP | st.builds(Savepoint, steps=inner, fails=st.booleans()), max_size=6
    ),
    max_leaves=12,
)


@pytest.fixture(autouse=True)
async def _things(control: Control) -> AsyncIterator[None]:
    async with table_of_things():
        yield


class Expected:
    """What the table would hold if every step were written at once."""

    def __init__(self) -> None:
        self.rows: dict[str, Thing] = {}

    def set(self, id_: str, field: Field, value: object) -> None:
        if id_ in self.rows:
            self.rows[id_] = replace(self.rows[id_], **{field: value})


def value_of(step: Step) -> object:
    return ("x",) * step.value if step.field == "words" else step.value


class Doing:
    """Does steps with a unit of work, and holds what is seen against what is expected."""

    def __init__(self, expected: Expected) -> None:
        self.expected = expected
        self.remembered: dict[str, Thing] = {}  # versions that a use case still has in hand

    async def all(self, steps: list[Step | Savepoint]) -> None:
        for step in steps:
            if isinstance(step, Savepoint):
                await self.part(step)
            else:
                await getattr(self, step.what)(step)

    async def part(self, part: Savepoint) -> None:
        rows, remembered = dict(self.expected.rows), dict(self.remembered)
        with suppress(Undone):
            async with db.savepoint():
                await self.all(part.steps)
                if part.fails:
                    raise Undone
        if part.fails:
            self.expected.rows, self.remembered = rows, remembered

    async def locked(self, id_: str) -> Thing | None:
        found = await unit_of_work.lock(THINGS, id_)
        assert found == self.expected.rows.get(id_)
        return found

    async def change(self, step: Step) -> None:
        if (old := await self.locked(step.id)) is not None:
            self.save(old, step)

    def save(self, old: Thing, step: Step) -> None:
        if getattr(old, step.field) == value_of(step):
            return  # sets nothing, so what somebody else has set stays
        unit_of_work.save(THINGS, old, replace(old, **{step.field: value_of(step)}))
        self.expected.set(step.id, step.field, value_of(step))

    async def remember(self, step: Step) -> None:
        if (found := await self.locked(step.id)) is not None:
            self.remembered[step.id] = found

    async def change_old(self, step: Step) -> None:
        if step.id in self.remembered and step.id in self.expected.rows:
            self.save(self.remembered[step.id], step)

    async def direct(self, step: Step) -> None:
        sql = f'update things set "{step.field}" = $2 where id = $1'
        value = value_of(step)
        await db.execute(sql, step.id, list(value) if isinstance(value, tuple) else value)
        self.expected.set(step.id, step.field, value)

    async def read(self, step: Step) -> None:
        found = await THINGS.where("true order by id")
        assert found == [row for _, row in sorted(self.expected.rows.items())]

    async def flush(self, step: Step) -> None:
        await unit_of_work.flush()

    async def delete(self, step: Step) -> None:
        assert await THINGS.delete(step.id) == (step.id in self.expected.rows)
        self.expected.rows.pop(step.id, None)
        self.remembered.pop(step.id, None)

    async def insert(self, step: Step) -> None:
        if step.id not in self.expected.rows:
            made = Thing(id=step.id, name=step.id, count=step.value)
            self.expected.rows[step.id] = await unit_of_work.insert(THINGS, made)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
async def test_any_sequence_ends_as_if_written_at_once(steps: list[Step | Savepoint]) -> None:
    await db.execute("delete from things")
    expected = Expected()
    expected.rows = {one.id: one for one in await stored("t1", "t2")}
    doing = Doing(expected)
    async with db.transaction():
        await doing.all(steps)
    await doing.read(Step("read", "", "count", 0))
