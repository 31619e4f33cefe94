"""What happened: an event and an audit row with the change, none without it, and the wake-up."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar

import anyio
import asyncpg
import pytest
from msgspec.structs import replace

from terrapod_control_plane.health import jobs as health_jobs
from terrapod_control_plane.identity import internal as identity
from terrapod_control_plane.kernel import bus, db
from terrapod_control_plane.kernel.context import Context, system
from terrapod_control_plane.kernel.outbox import Event
from terrapod_control_plane.kernel.policy import Actor
from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio

DAY = 24 * 3600


class Found(Event, frozen=True, kw_only=True):
    """Something of no other meaning."""

    kind: ClassVar[str] = "thing.found"
    thing: str
    found_by: str = "chance"

    @property
    def subject(self) -> str:
        return self.thing

    @property
    def topics(self) -> tuple[str, ...]:
        return (f"thing:{self.thing}",)


class Undone(Exception):
    """Ends a transaction without its changes."""


@asynccontextmanager
async def undone() -> AsyncIterator[None]:
    """A transaction that comes to nothing at its end."""
    with suppress(Undone):
        async with db.transaction():
            yield
            raise Undone


async def hear(context: Context, dsn: str) -> None:
    """Another process commits, and we have heard of that, and so of all before it."""
    heard = context.services.bus.signal("other")
    connection = await asyncpg.connect(dsn)
    await connection.execute("select pg_notify($1, 'other')", bus.CHANNEL)
    await connection.close()
    with anyio.fail_after(20):
        await heard.wait()


async def outbox() -> list[tuple[Any, ...]]:
    found = await db.rows("select kind, payload from outbox order by id")
    return [tuple(row.values()) for row in found]


async def trail() -> list[dict[str, Any]]:
    return [dict(row) for row in await db.rows("select * from audit_entries order by id")]


@pytest.fixture
def context(control: Control) -> Context:
    actor = Actor(kind="user", id="user-1", name="ann@example.com")
    return replace(system(control.services), actor=actor, request_id="re-1")


@pytest.fixture
def woken(control: Control) -> Iterator[anyio.Event]:
    """Set when the thing `one` is woken."""
    topic = "thing:one"
    yield control.services.bus.signal(topic)
    control.services.bus.wake(topic)


async def test_a_change_leaves_an_event_and_an_audit_row(context: Context) -> None:
    before = context.now()
    async with db.transaction():
        await context.emit(Found(thing="one"))
    payload = {"thing": "one", "found-by": "chance"}
    assert await outbox() == [("thing.found", payload)]
    (entry,) = await trail()
    assert before <= entry.pop("at") <= context.now()
    assert entry.pop("id")
    assert entry == {
        "actor_kind": "user",
        "actor_id": "user-1",
        "actor_name": "ann@example.com",
        "request_id": "re-1",
        "action": "thing.found",
        "subject": "one",
        "detail": payload,
    }


async def test_the_record_names_who_asked_and_the_request_that_was_answered(
    control: Control, as_: As
) -> None:
    owner = await as_("owner")
    account = (await owner.get("/api/v2/account/details"))["data"]
    body = {"data": {"type": "workspaces", "attributes": {"name": "app"}}}
    answer = await owner.call("POST", "/api/v2/organizations/default/workspaces", json=body)
    workspace = answer.json()["data"]["id"]
    entry = (await trail())[-1]
    assert (entry["actor_kind"], entry["actor_id"]) == ("user", account["id"])
    assert entry["actor_name"] == account["attributes"]["username"]
    assert entry["request_id"] == answer.headers["x-request-id"]
    assert (entry["action"], entry["subject"]) == ("workspace.created", workspace)
    assert (await outbox())[-1] == ("workspace.created", entry["detail"])
    assert entry["detail"]["workspace"] == workspace


async def test_the_record_names_the_agent_that_acted(
    api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace)
    await factories.plans(listener)
    by_agent = [entry for entry in await trail() if entry["actor_kind"] == "listener"]
    assert {(entry["actor_id"], entry["actor_name"]) for entry in by_agent} == {
        (listener.id, "first")
    }


async def test_what_the_server_does_by_itself_is_recorded_as_its_own(control: Control) -> None:
    async with db.transaction():
        await system(control.services).emit(Found(thing="one"))
    (entry,) = await trail()
    assert (entry["actor_kind"], entry["actor_name"]) == ("system", "terrapod")
    assert entry["request_id"].startswith("re-")


async def test_both_rows_are_undone_with_their_change(context: Context) -> None:
    async with undone():
        await identity.create_user(context, "bob@example.com")
    assert await db.value("select count(*) from users") == 0
    assert (await outbox(), await trail()) == ([], [])


async def test_a_handler_that_fails_undoes_the_change(context: Context) -> None:
    async def fails(_: Context, event: Found) -> None:
        raise Undone(event.thing)

    context = replace(context, services=replace(context.services, handlers={Found: [fails]}))

    async def change() -> None:
        async with db.transaction():
            await identity.create_user(context, "bob@example.com")
            await context.emit(Found(thing="one"))

    with pytest.raises(Undone, match="one"):
        await change()
    assert await db.value("select count(*) from users") == 0
    assert (await outbox(), await trail()) == ([], [])


async def test_what_a_handler_changes_is_part_of_the_change(context: Context) -> None:
    async def follows(ctx: Context, event: Found) -> None:
        await identity.create_user(ctx, f"{event.thing}@example.com")

    context = replace(context, services=replace(context.services, handlers={Found: [follows]}))
    async with undone():
        await context.emit(Found(thing="one"))
        assert await db.value("select email from users") == "one@example.com"
    assert await db.value("select count(*) from users") == 0


async def test_an_event_outside_of_a_transaction_is_a_mistake(context: Context) -> None:
    with pytest.raises(RuntimeError, match="Found was emitted outside of a transaction"):
        await context.emit(Found(thing="one"))
    assert (await outbox(), await trail()) == ([], [])


async def test_whoever_waits_is_woken_by_the_commit_and_not_before(
    context: Context, woken: anyio.Event, dsn: str
) -> None:
    async with db.transaction():
        await context.emit(Found(thing="one"))
        await hear(context, dsn)
        assert not woken.is_set()
    with anyio.fail_after(20):
        await woken.wait()


async def test_nobody_is_woken_by_what_was_undone(
    context: Context, woken: anyio.Event, dsn: str
) -> None:
    async with undone():
        await context.emit(Found(thing="one"))
    await hear(context, dsn)
    assert not woken.is_set()


async def test_old_events_are_dropped_and_their_audit_rows_kept(
    control: Control, context: Context
) -> None:
    for thing, wait in (("old", 6 * DAY), ("younger", 2 * DAY), ("new", 0)):
        async with db.transaction():
            await context.emit(Found(thing=thing))
        control.clock.move(wait)
    await health_jobs.trim_outbox(system(control.services))
    assert [payload["thing"] for _, payload in await outbox()] == ["younger", "new"]
    assert [entry["subject"] for entry in await trail()] == ["old", "younger", "new"]
