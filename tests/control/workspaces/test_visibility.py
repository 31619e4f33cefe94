"""Who sees which workspaces: what SQL finds is what permission is given on, for anybody."""

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from terrapod_control_plane.configurations import internal as configurations
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context, system
from terrapod_control_plane.kernel.pages import Paging
from terrapod_control_plane.kernel.policy import (
    Actor,
    LabelRole,
    Level,
    Scope,
    Verdict,
    Where,
    allows,
)
from terrapod_control_plane.states import internal as states
from terrapod_control_plane.workspaces import internal as workspaces
from terrapod_control_plane.workspaces import queries, visibility
from terrapod_control_plane.workspaces.actions import STATE_READ, WORKSPACE_READ
from terrapod_control_plane.workspaces.model import Wanted
from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Client, Control

pytestmark = pytest.mark.anyio

PEOPLE = ["user-a", "user-b", "user-c"]
NAMES = [f"app-{number}" for number in range(6)]
_FILL = """
insert into workspaces
select (jsonb_populate_record(w, jsonb_build_object('id', 'ws-' || new.name) || to_jsonb(new))).*
from workspaces w, jsonb_to_recordset($1) as new (name text, owner_id text, labels jsonb)
where w.id = $2
"""
_USERS = """
insert into users (id, email, username, is_active, is_service_account, roles, created_at)
select id, id, id, true, false, '{}', now() from unnest($1::text[]) id
"""

# Few of each, so that they meet; with what JSON and SQL would take for something of theirs.
texts = st.sampled_from(["", "dev", "prod", "a b", '"', "\\", "'", "$1", "{}", "ü%_"])
labels = st.dictionaries(texts, texts, max_size=3)
pairs = st.frozensets(st.tuples(texts, texts), max_size=3)
named = st.frozensets(st.sampled_from(NAMES), max_size=2)
label_roles = st.builds(
    LabelRole,
    level=st.sampled_from(Level),
    allow_names=named,
    allow_labels=pairs,
    deny_names=named,
    deny_labels=pairs,
)
actors = st.builds(
    Actor,
    kind=st.sampled_from(["user", "user", "user", "nobody", "listener", "system"]),
    id=st.sampled_from([*PEOPLE, "", "listener-1"]),
    roles=st.frozensets(st.sampled_from(["admin", "audit", "other"]), max_size=2),
    label_roles=st.lists(label_roles, max_size=3).map(tuple),
)
owned = st.lists(st.tuples(st.sampled_from(PEOPLE), labels), min_size=6, max_size=6)


@pytest.fixture
async def template(control: Control, api: Client) -> str:
    """A workspace that others are copies of."""
    await db.execute(_USERS, PEOPLE)
    return await factories.workspace(api, "template")


async def filled(template: str, made: list[tuple[str, dict[str, str]]]) -> list[Scope]:
    """Only these workspaces beside the template; what permission on them is asked on."""
    scopes = [
        Scope(where=Where.WORKSPACE, id=f"ws-{name}", name=name, owner=owner, labels=given_)
        for name, (owner, given_) in zip(NAMES, made, strict=True)
    ]
    rows: list[Any] = [{"name": s.name, "owner_id": s.owner, "labels": s.labels} for s in scopes]
    await db.execute("delete from workspaces where id <> $1", template)
    await db.execute(_FILL, db.encode(rows), template)
    return scopes


def as_actor(control: Control, actor: Actor) -> Context:
    """A request of an actor."""
    anybody = system(control.services)
    return Context(actor=actor, services=anybody.services, request_id="", base_url=anybody.base_url)


ONLY_DENIED = LabelRole(level=Level.READ, deny_names=frozenset(NAMES))
EMPTY = [("user-a", dict[str, str]())] * 6


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(made=owned, actor=actors)
@example(made=EMPTY, actor=Actor(kind="user", id="user-a", label_roles=(ONLY_DENIED,)))
@example(made=EMPTY, actor=Actor(kind="listener", id="user-a", roles=frozenset({"admin"})))
@example(made=EMPTY, actor=Actor(kind="system"))
async def test_sql_finds_what_permission_is_given_on(
    control: Control, template: str, made: list[tuple[str, dict[str, str]]], actor: Actor
) -> None:
    scopes = await filled(template, made)
    seen = {s.id for s in scopes if allows(actor, WORKSPACE_READ, s) is not Verdict.UNSEEN}
    for action in (STATE_READ, WORKSPACE_READ):
        assert seen == {s.id for s in scopes if allows(actor, action, s) is Verdict.ALLOWED}
    ctx, ids = as_actor(control, actor), [s.id for s in scopes]
    assert set(await workspaces.visible(ctx, ids)) == seen
    assert {found.id for found in await workspaces.many(ctx, ids)} == seen
    page = await queries.page(actor, Wanted(wildcard="app-*"), Paging(size=100))
    assert ({found.id for found in page.items}, page.total) == (seen, len(seen))
    assert {s.id for s in scopes if await queries.id_of(actor, s.name) == s.id} == seen
    column = visibility.of_column(actor, "of.id", after=1)
    sql = f"select id from unnest($1::text[]) of (id) where {column.sql}"
    assert {row["id"] for row in await db.rows(sql, ids, *column.args)} == seen


async def test_lists_and_pages_show_what_may_be_seen(as_: As) -> None:
    owner, stranger, reader = [await as_(name) for name in ("owner", "stranger", "reader")]
    own = await factories.workspace(owner, "own")
    await factories.workspace(stranger, "foreign")
    for client, names in ((owner, ["own"]), (stranger, ["foreign"]), (reader, ["foreign", "own"])):
        found = await client.get("/api/v2/organizations/default/workspaces")
        assert [one["attributes"]["name"] for one in found["data"]] == names
        assert found["meta"]["pagination"]["total-count"] == len(names)
    answer = await stranger.call("GET", f"/api/v2/workspaces/{own}")
    assert answer.status_code == 404


async def test_what_is_included_is_what_may_be_seen(control: Control, as_: As) -> None:
    owner = await as_("owner")
    own = await factories.workspace(owner, "own")
    configuration = await factories.configuration(owner, own)
    await factories.pushes(owner, own, 1)
    state = (await owner.get(f"/api/v2/workspaces/{own}/current-state-version"))["data"]["id"]
    (owner_id,) = [found["owner_id"] for found in await db.rows("select owner_id from workspaces")]
    audit = frozenset({"audit"})
    named = LabelRole(level=Level.READ, allow_names=frozenset({"own"}))
    sees = [
        (Actor(kind="user", id=owner_id), True),
        (Actor(kind="user", id="user-other"), False),
        (Actor(kind="user", id="user-other", roles=audit), True),
        (Actor(kind="user", id="user-other", label_roles=(named,)), True),
        (Actor(kind="listener", id=owner_id), False),
        (Actor(kind="system"), True),
        (Actor(), False),
    ]
    for actor, seen in sees:
        ctx = as_actor(control, actor)
        shown = await configurations.many(ctx, [configuration, "cv-none"])
        assert [one.id for one in shown] == [configuration] * seen
        assert [one.id for one in await states.many(ctx, [state])] == [state] * seen
