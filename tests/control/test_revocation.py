"""What is revoked is out: at once where it was revoked, within a second elsewhere."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest
from msgspec import Struct
from msgspec.structs import replace

from terrapod_agent.identity import certificate_request, new_key
from terrapod_common import wire
from terrapod_control_plane.agents import jobs as agent_jobs
from terrapod_control_plane.agents import queries as agent_queries
from terrapod_control_plane.agents import service as agents
from terrapod_control_plane.agents.enrolment import service as enrolment
from terrapod_control_plane.identity import internal as identity
from terrapod_control_plane.identity import queries as identity_queries
from terrapod_control_plane.identity import service as accounts
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.caches import Caches, Credential
from terrapod_control_plane.kernel.context import Context, system
from terrapod_control_plane.kernel.echo import COUNTS_FOR
from terrapod_control_plane.kernel.policy import Actor
from terrapod_control_plane.workspaces import internal as placed
from terrapod_control_plane.workspaces import service as workspaces
from terrapod_control_plane.workspaces.model import SetupChange
from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Agent, Client, Control
from tests.kit.hearing import Ears, all_heard, until
from tests.kit.proxy import BOTH, Proxy, Weather, by_way_of

pytestmark = pytest.mark.anyio

ME = "/api/v2/account/details"
FORGET = "delete from tokens where id = $1"
STALE = Credential(actor=Actor(kind="user", id="user-1"), until=datetime(2200, 1, 1, tzinfo=UTC))


class Pair(Struct):
    """Two processes, of which one hears its database over a network."""

    near: Ears
    far: Ears
    between: Proxy


@pytest.fixture
async def pair(control: Control, dsn: str, between: Proxy) -> AsyncIterator[Pair]:
    pair = Pair(Ears(), Ears(), between)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(pair.near.listening(dsn))
        await stack.enter_async_context(pair.far.listening(by_way_of(between, dsn)))
        yield pair


async def minted(control: Control, user: str) -> tuple[str, str]:
    """The id and text of a new token."""
    made = await identity.mint(system(control.services), "user", user, "for a test")
    return made.stored.id, made.text


async def known(ears: Ears, token: str) -> None:
    """Until a process knows the holder, and asks nobody."""
    await ears.fresh()
    assert await ears.holder(token)
    looked = ears.looked
    assert await ears.holder(token)
    assert ears.looked == looked


# --- elsewhere ------------------------------------------------------------------------------------


async def test_every_process_hears_of_it(control: Control, pair: Pair) -> None:
    user, _ = await control.token("user")
    (id_, token), (_, other) = [await minted(control, user) for _ in range(2)]
    for ears in (pair.near, pair.far):
        await known(ears, token)
    await db.execute(FORGET, id_)
    for ears in (pair.near, pair.far):
        await all_heard(ears.bus)
        assert await ears.holder(token) is None
        assert await ears.holder(other)


async def test_a_process_that_hears_nothing_asks_within_a_second(
    control: Control, pair: Pair
) -> None:
    user, _ = await control.token("user")
    (id_, token), (_, other) = [await minted(control, user) for _ in range(2)]
    await known(pair.far, token)
    pair.between.weather(Weather(silent=BOTH))
    await db.execute(FORGET, id_)
    pair.far.seconds += COUNTS_FOR
    assert await pair.far.holder(token) is None
    assert await pair.far.holder(other)
    pair.between.heal()
    await known(pair.far, other)
    assert await pair.far.holder(token) is None


async def test_a_process_whose_connection_was_cut_forgets_what_it_knew(
    control: Control, pair: Pair
) -> None:
    user, _ = await control.token("user")
    (id_, token), (_, other) = [await minted(control, user) for _ in range(2)]
    await known(pair.far, token)
    pair.between.cut()
    await until(lambda: not pair.far.caches.echo.fresh())  # at once, for its time stands
    await db.execute(FORGET, id_)
    assert await pair.far.holder(token) is None
    # As if it had been kept just before the connection was cut.
    pair.far.caches.credentials.keep(b"stale", STALE, pair.far.caches.credentials.changes)
    pair.between.heal()
    await known(pair.far, other)
    assert pair.far.caches.credentials.get(b"stale") is None
    assert await pair.far.holder(token) is None


async def test_a_backend_that_was_ended_is_as_good_as_cut(
    control: Control, dsn: str, pair: Pair
) -> None:
    user, _ = await control.token("user")
    id_, token = await minted(control, user)
    ears = Ears()
    async with ears.listening(f"{dsn}&application_name=ears"):
        await known(ears, token)
        ended = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1"
        assert await db.value(ended, "ears")
        await until(lambda: not ears.caches.echo.fresh())
        await db.execute(FORGET, id_)
        assert await ears.holder(token) is None
        await ears.fresh()
        assert await ears.holder(token) is None


async def test_whose_a_workspace_is_is_heard_too(control: Control, as_: As) -> None:
    owner, stranger = await as_("owner"), await as_("stranger")
    path = f"/api/v2/workspaces/{await factories.workspace(owner)}"
    new = (await stranger.get(ME))["data"]["id"]
    assert (await owner.call("GET", path)).status_code == 200
    await db.execute("update workspaces set owner_id = $1", new)
    await all_heard(control.services.bus)
    assert (await owner.call("GET", path)).status_code == 404
    assert (await stranger.call("GET", path)).status_code == 200


# --- what is announced ----------------------------------------------------------------------------

_ON = """
select c.relname as of, a.attname as name
from pg_trigger t join pg_class c on c.oid = t.tgrelid
    join pg_attribute a on a.attrelid = c.oid and a.attnum = any(t.tgattr)
where t.tgname like '%\\_announced'
"""
_DELETES = "select tgrelid::regclass::text as of from pg_trigger where (tgtype & $1) <> 0"
ALIASES = {"t": "tokens", "u": "users", "l": "listeners", "c": "certificates"}


async def test_all_that_an_actor_or_a_scope_depends_on_is_announced(control: Control) -> None:
    announced = {(row["of"], row["name"]) for row in await db.rows(_ON)}
    read = identity_queries._HOLDER + agent_queries._HOLDER
    needed = {(ALIASES[alias], name) for alias, name in re.findall(r"\b([tulc])\.(\w+)", read)}
    needed |= {("workspaces", name) for name in ("id", "name", "owner_id", "labels")}
    assert needed - announced == {("tokens", "last_used_at")}
    assert len(needed) > 15
    for kind in (8, 32):  # delete, truncate
        tables = {row["of"] for row in await db.rows(_DELETES, kind)}
        assert tables >= {table for table, _ in needed}


async def test_what_is_only_counted_is_not_announced(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    await listener.beat()
    await all_heard(control.services.bus)
    kept = control.services.caches
    before = kept.credentials.changes, kept.scopes.changes
    control.clock.move(120)
    await listener.beat()
    await factories.run(api, workspace)
    assert (await api.call("GET", ME)).status_code == 200
    await all_heard(control.services.bus)
    assert (kept.credentials.changes, kept.scopes.changes) == before


# --- here -----------------------------------------------------------------------------------------


@pytest.fixture
def deaf(control: Control) -> Context:
    """The context of a process that hears of nothing: it knows of its own changes alone."""
    return system(replace(control.services, caches=Caches()))


async def token_deleted(ctx: Context, agent: Agent) -> None:
    user = await identity.create_user(ctx, "somebody@example.com")
    made = await identity.mint(ctx, "user", user.id, "")
    await accounts.delete_token(ctx, made.stored.id)


async def listener_revoked(ctx: Context, agent: Agent) -> None:
    await agents.revoke(ctx, agent.pool, agent.id)


async def pool_deleted(ctx: Context, agent: Agent) -> None:
    await agents.delete_pool(ctx, agent.pool)


async def name_taken_over(ctx: Context, agent: Agent) -> None:
    made = await identity.mint(ctx, "join", agent.pool, "")
    asked = wire.Join(
        join_token=made.text, name="first", csr=certificate_request(new_key(), "first")
    )
    await enrolment.join(ctx, asked)


async def certificate_forgotten(ctx: Context, agent: Agent) -> None:
    await db.execute("update certificates set not_after = '2020-01-01'")
    await agent_jobs.forget_certificates(ctx)


@pytest.mark.parametrize(
    "act",
    [token_deleted, listener_revoked, pool_deleted, name_taken_over, certificate_forgotten],
)
async def test_who_revokes_does_not_wait_to_hear_of_it(
    deaf: Context, listener: Agent, act: Callable[[Context, Agent], Awaitable[None]]
) -> None:
    kept = deaf.services.caches.credentials
    kept.keep(b"stale", STALE, kept.changes)
    await act(deaf, listener)
    assert kept.get(b"stale") is None


async def renamed(ctx: Context, id_: str) -> None:
    change = SetupChange(
        apply=lambda setup: replace(setup, name="renamed"), new_tags=[], only_version=False
    )
    await workspaces.update(ctx, id_, change)


async def deleted(ctx: Context, id_: str) -> None:
    await workspaces.delete(ctx, id_)


@pytest.mark.parametrize("act", [renamed, deleted])
async def test_who_changes_a_workspace_does_not_wait_to_hear_of_it(
    deaf: Context, workspace: str, act: Callable[[Context, str], Awaitable[None]]
) -> None:
    kept = deaf.services.caches.scopes
    scope = await placed.scope(workspace)
    assert scope is not None
    kept.keep(workspace, scope, kept.changes)
    await act(deaf, workspace)
    assert kept.get(workspace) is None


async def test_a_change_that_was_taken_back_is_none(deaf: Context, listener: Agent) -> None:
    kept = deaf.services.caches.credentials

    async def revoke_in_vain() -> None:
        async with db.transaction():
            await agents.revoke(deaf, listener.pool, listener.id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await revoke_in_vain()
    assert kept.changes == 0
