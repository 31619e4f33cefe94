"""Requests per second and how long one takes, beside a bare route and the bare SQL."""

import itertools
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from msgspec import Struct

from tests.bench import light, table
from tests.bench.light import Load, Site
from tests.bench.place import Joined
from tests.bench.scenery import Scene, run_body
from tests.bench.table import Row

CONNECTIONS = (1, 16)

_COPY = """
insert into bench_runs
select (jsonb_populate_record(r, jsonb_build_object('id', $1::text))).* from runs r where id = $2
"""
_NEXT = """
select id from phases where pool_id = $1 and status = 'queued' and lease_until is null
order by rank limit 1
"""
_STATE = """
select v.* from workspaces w join state_versions v on v.id = w.current_state_version_id
where w.id = $1
"""


class Case(Struct, frozen=True, kw_only=True):
    """A request of ours, and the SQL that it cannot do without."""

    name: str
    site: Site
    method: str
    path: str
    bodies: tuple[bytes, ...] = (b"",)  # sent in turn
    content_type: str = light.JSON_API
    sql: Callable[[], Awaitable[object]] | None = None
    aim: str = ""

    @property
    def key(self) -> str:
        """Its name as a part of a path."""
        return self.name.replace(" ", "-").replace("/", "-").replace(",", "")

    @property
    def requests(self) -> list[bytes]:
        """The bytes of each."""
        return [
            self.site.request(self.method, self.path, body, self.content_type)
            for body in self.bodies
        ]

    async def load(self, connections: int, count: int) -> Load:
        """Ask so often in all on so many connections."""
        return await light.load(self.site, self.requests, connections=connections, count=count)


async def cases(site: Site, agent: Joined, database: Any, scene: Scene) -> list[Case]:
    """All that is asked."""
    return [
        *_reads(site, database, scene),
        *await _creates(site, database, scene),
        _beat(agent),
        _next(agent, database),
    ]


def _reads(site: Site, database: Any, scene: Scene) -> list[Case]:
    async def page() -> object:
        await database.fetchval("select count(*) from workspaces")
        return await database.fetch('select * from workspaces order by name collate "C" limit 20')

    get = partial(Case, site=site, method="GET")
    row = database.fetchrow
    named = partial(row, "select * from workspaces where name = $1", "bench")
    shown = partial(row, "select * from runs where id = $1", scene.run)
    current = f"/api/v2/workspaces/{scene.workspace}/current-state-version"
    state = partial(row, _STATE, scene.workspace)
    all_ = "/api/v2/organizations/default/workspaces"
    twenty = f"{all_}?page%5Bsize%5D=20"
    return [
        get(name="ping", path="/api/v2/ping"),
        get(name="workspace by name", path=f"{all_}/bench", sql=named),
        get(name="run show", path=f"/api/v2/runs/{scene.run}", sql=shown, aim="1,000/s"),
        get(name="current state version", path=current, sql=state),
        get(name="20 of 10,000 workspaces", path=twenty, sql=page, aim="15 ms"),
    ]


async def _creates(site: Site, database: Any, scene: Scene) -> list[Case]:
    await database.execute("create table bench_runs (like runs including defaults)")
    await database.execute("alter table bench_runs add primary key (id)")
    numbers = itertools.count(1)

    async def copy() -> object:
        return await database.execute(_COPY, f"run-{next(numbers)}", scene.run)

    create = partial(Case, site=site, method="POST", path="/api/v2/runs", sql=copy)
    many, one = (
        tuple(run_body(workspace, **{"plan-only": True}) for workspace in workspaces)
        for workspaces in (scene.busy, (scene.workspace,))
    )
    return [
        create(name=f"run create, plan only, {len(many)} workspaces", bodies=many),
        create(name="run create, plan only", bodies=one),
    ]


def _beat(agent: Joined) -> Case:
    return Case(
        name="heartbeat, mTLS",
        site=agent.site,
        method="POST",
        path=f"/api/v2/listeners/{agent.listener}/heartbeat",
        bodies=(b'{"version":"1","slots":1,"holding":[],"platform":"linux_amd64"}',),
        content_type="application/json",
    )


def _next(agent: Joined, database: Any) -> Case:
    path = f"/api/v2/listeners/{agent.listener}/runs/next?wait=0&slot=0&key=&accept=plan"
    return Case(
        name="runs/next, empty queue, mTLS",
        site=agent.site,
        method="GET",
        path=path,
        sql=partial(database.fetchrow, _NEXT, agent.pool),
    )


async def bodies(asked: list[Case]) -> dict[str, bytes]:
    """What the server answers, for the bare route to answer the same."""
    return {case.key: (await case.site.once(case.requests[0])).body for case in asked}


class Measured(Struct):
    """The loads of all rounds for one case at one number of connections."""

    ours: list[Load] = []
    bare: list[Load] = []
    sql: list[Load] = []


Found = dict[tuple[str, int], Measured]


async def measure(asked: list[Case], bare: Site, count: int, found: Found) -> None:
    """One round: each case, then its two neighbours at once after it."""
    for case in asked:
        verb = case.method.lower()
        path = f"/{verb}/{case.key}"
        beside = [bare.request(case.method, path, body) for body in case.bodies]
        for connections in CONNECTIONS:
            often = count * (1 if connections == 1 else 4)
            into = found.setdefault((case.name, connections), Measured())
            into.ours.append(await case.load(connections, often))
            into.bare.append(await light.load(bare, beside, connections=connections, count=often))
            if case.sql is not None:
                into.sql.append(await light.repeated([_void(case.sql)] * connections, often))


def _void(sql: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    async def ask() -> None:
        await sql()

    return ask


def rows(asked: list[Case], found: Found) -> list[Row]:
    """The medians."""
    return [
        _row(case, connections, found[case.name, connections])
        for case in asked
        for connections in CONNECTIONS
    ]


def _row(case: Case, connections: int, measured: Measured) -> Row:
    ours, bare = light.median(measured.ours), light.median(measured.bare)
    beside = f"bare route {table.told(bare)}"
    ratio = f"{table.times(ours.per_second, bare.per_second)} of bare route"
    if measured.sql:
        sql = light.median(measured.sql)
        beside += f"; SQL {table.told(sql)}"
        ratio += f", {table.times(ours.per_second, sql.per_second)} of SQL"
    plural = "connection" if connections == 1 else "connections"
    aimed = case.aim if (connections == 1) == (case.aim == "15 ms") else ""
    return Row(
        what=f"{case.name}, {connections} {plural}",
        ours=table.told(ours),
        beside=beside,
        ratio=ratio,
        aim=aimed,
    )
