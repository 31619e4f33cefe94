"""A repository: every type there and back, one statement each, strict about what fits."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.pages import Paging
from tests.kit.control import Control
from tests.kit.statement_count import counted
from tests.kit.things import (
    NOON,
    THINGS,
    Colour,
    Kind,
    Part,
    repository,
    stored,
    table_of_things,
    thing,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def _things(control: Control) -> AsyncIterator[None]:
    async with table_of_things():
        yield


FULL: dict[str, Any] = {
    "kind": Kind.TOY,
    "count": 2**31 - 1,
    "size": 2**62,
    "on_sale": True,
    "sealed": b"\0\xff",
    "at": NOON,
    "words": ("a", 'with "quotes"', ""),
    "colours": [Colour.BLUE, Colour.RED],
    "labels": {"é": "\u2603", "": '"'},
    "parts": [Part("wheel", NOON)],
}


@pytest.mark.parametrize("given", [{}, FULL])
async def test_what_is_stored_is_read_again(given: dict[str, Any]) -> None:
    made = await THINGS.insert(thing(**given))
    assert made.number > 0
    assert made == replace(thing(**given), number=made.number)
    assert await THINGS.get("t1") == made
    assert await THINGS.many(["t1", "t2"]) == [made]
    assert await THINGS.where("name = $1 for update", "the t1") == [made]
    assert await THINGS.first("false") is None


async def test_many_are_stored_by_few_statements_and_told_in_their_order() -> None:
    async with counted() as sent:
        made = await THINGS.insert_all([thing(f"t{n}", count=n) for n in range(40)])
    assert len(sent) == 3
    assert [one.count for one in made] == list(range(40))
    assert {one.id: one for one in await THINGS.where("true")} == {one.id: one for one in made}
    assert await THINGS.insert_all([]) == []


@pytest.mark.parametrize("name", FULL)
async def test_only_what_differs_is_written(name: str) -> None:
    (old,) = await stored("t1")
    await db.execute("update things set name = 'another'")
    new = replace(old, **{name: FULL[name]})
    async with counted() as sent:
        assert await THINGS.save(old, new)
    assert sent == [f'update things set "{name}" = $2 where "id" = $1']
    assert await THINGS.get("t1") == replace(new, name="another")


async def test_what_does_not_differ_costs_nothing() -> None:
    (old,) = await stored("t1")
    async with counted() as sent:
        assert await THINGS.save(old, replace(old))
    assert sent == []


async def test_named_fields_are_written_whatever_they_were() -> None:
    (old,) = await stored("t1")
    await db.execute("update things set name = 'another', count = 7")
    assert await THINGS.save_fields(old, "count")
    assert await THINGS.get("t1") == replace(old, name="another")


async def test_what_is_gone_is_not_saved() -> None:
    (old,) = await stored("t1")
    assert await THINGS.delete("t1")
    assert not await THINGS.delete("t1")
    assert not await THINGS.save(old, replace(old, count=2))
    assert await THINGS.lock("t1") is None


async def test_two_different_rows_are_no_versions_of_one() -> None:
    with pytest.raises(ValueError, match="different rows"):
        await THINGS.save(thing("t1"), thing("t2"))


@pytest.mark.parametrize(
    ("number", "statements"), [(1, 1), (2, 1), (3, 1), (4, 2)], ids=["full", "next", "last", "past"]
)
async def test_a_page_says_how_many_there_are_in_all(number: int, statements: int) -> None:
    await stored("t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8")
    async with counted() as sent:
        page = await THINGS.page(
            "count = $1", 1, order="number desc", paging=Paging(number=number, size=3)
        )
    assert (len(sent), page.total) == (statements, 8)
    ids = ["t8", "t7", "t6", "t5", "t4", "t3", "t2", "t1"]
    assert [one.id for one in page.items] == ids[3 * (number - 1) :][:3]


@pytest.mark.parametrize("number", [1, 2])
async def test_a_page_of_nothing(number: int) -> None:
    page = await THINGS.page("false", order="id", paging=Paging(number=number))
    assert (page.items, page.total) == ([], 0)


async def test_a_column_of_a_later_version_disturbs_nobody() -> None:
    (old,) = await stored("t1")
    await db.execute("alter table things add column later text not null default 'x'")
    assert await THINGS.get("t1") == old
    await stored("t2")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"made": ()}, "number are fields without a column"),
        ({"beside": ()}, "seen are columns without a field"),
        ({"beside": ("seen", "sen")}, "sen are declared, but not there"),
        ({"computed": ("total",)}, "total are declared, but not there"),
        ({"beside": ("seen", "name")}, "name are declared otherwise than they are"),
        ({"computed": ("count",)}, "count are declared otherwise than they are"),
        ({"made": (), "computed": ("number",)}, None),
    ],
)
async def test_table_and_model_have_to_fit(options: dict[str, Any], said: str | None) -> None:
    if said is None:
        repository(**options)
        return
    with pytest.raises(TypeError, match=said):
        repository(**options)
