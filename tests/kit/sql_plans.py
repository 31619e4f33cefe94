"""What statements read: recorded while the server works, judged by PostgreSQL's own plans."""

import inspect
import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from math import inf
from types import FrameType, ModuleType
from typing import Any

from asyncpg.connection import LoggedQuery

from terrapod_control_plane.kernel import db
from tests.kit import samples

MANY = 20_000
# One in so many rows is of something that is not over yet.
_OPEN = 400
# What a statement may be expected to read of a table that grows.
_ROWS = MANY / 20

Shape = Mapping[str, str]

# How the tables look that grow, after a while: for each column that a rule of the database or an
# index is about an expression of `n`; the others are empty.
GROWN: Mapping[str, tuple[int, Shape]] = {
    "users": (1, {"id": "'user-' || n", "email": "'e' || n"}),
    "agent_pools": (100, {"id": "'apool-' || n", "name": "'filler ' || n"}),
    "workspaces": (
        1000,
        {
            "id": "'ws-' || n",
            "name": "'filler ' || n",
            "owner_id": "'user-1'",
            "execution_mode": "'remote'",
            "tool": "'terraform'",
            "terraform_version": "'1.9.0'",
        },
    ),
    "tokens": (
        MANY,
        {
            "id": "'at-' || n",
            "kind": "'user'",
            "subject_id": "'user-' || n % 1000",
            "digest": "sha256(n::text::bytea)",
        },
    ),
    "outbox": (MANY, {"at": "now() - n * interval '1 minute'"}),
    "audit_entries": (
        MANY,
        {"at": "now() - n * interval '1 minute'", "subject": "'run-' || n / 10"},
    ),
    "variables": (
        MANY,
        {
            "id": "'var-' || n",
            "workspace_id": "'ws-' || 1 + n % 1000",
            "key": "'k' || n",
            "category": "'env'",
        },
    ),
    "configuration_versions": (
        MANY,
        {
            "id": "'cv-' || n",
            "workspace_id": "'ws-' || 1 + n % 1000",
            "created_at": "now() - n * interval '1 minute'",
            "status": f"case when n % {_OPEN} = 0 then 'pending' else 'uploaded' end",
        },
    ),
    "state_versions": (
        MANY,
        {
            "id": "'sv-' || n",
            "workspace_id": "'ws-' || 1 + n % 1000",
            "run_id": "'run-' || n",
            "created_at": "now() - n * interval '1 minute'",
            "status": f"case when n % {_OPEN} = 0 then 'pending' when n % 10 = 0 then 'recovered' "
            "else 'finalized' end",
            "serial": "n",
        },
    ),
    "state_excerpts": (
        MANY,
        {"state_version_id": "'sv-' || n", "kind": "'outputs'", "first": "0", "count": "1"},
    ),
    "runs": (
        MANY,
        {
            "id": "'run-' || n",
            "workspace_id": "'ws-' || 1 + n % 1000",
            "pool_id": "'apool-' || 1 + n % 100",
            "plan_id": "'plan-' || n",
            "apply_id": "'apply-' || n",
            "status": f"case when n % {_OPEN} <> 0 then 'applied' when n % {2 * _OPEN} = 0 "
            "then 'planned' else 'pending' end",
            "created_at": "now() - n * interval '1 minute'",
            "changed_at": "now() - n * interval '1 minute'",
        },
    ),
    "phases": (
        MANY,
        {
            "id": "'plan-' || n",
            "run_id": "'run-' || n",
            "workspace_id": "'ws-' || 1 + n % 1000",
            "kind": "'plan'",
            "pool_id": "'apool-' || 1 + n % 100",
            "status": f"case when n % {_OPEN} = 0 then 'running' else 'finished' end",
            "listener_id": "'listener-' || n % 100",
            "claimed_at": "now() - n * interval '1 minute'",
            "lease_until": f"case when n % {_OPEN} = 0 then now() end",
            "order_kind": "case when n % 10 = 0 then 'cancel' when n % 10 = 1 "
            "then 'force_cancel' end",
            "log_size": "1",
            "log_complete": f"n % {_OPEN} <> 0",
            "log_index": f"case when n % {_OPEN} <> 0 then '[]'::jsonb end",
        },
    ),
    "log_chunks": (MANY, {"phase_id": "'plan-' || n", "at_byte": "0", "size": "1"}),
    "listeners": (
        MANY,
        {
            "id": "'listener-' || n",
            "pool_id": "'apool-' || 1 + n % 100",
            "name": "'filler ' || n",
            "last_seen_at": "now()",
        },
    ),
    "certificates": (
        MANY,
        {
            "fingerprint": "'f' || n",
            "listener_id": "'listener-' || 1 + n % 1000",
            "not_after": "now() - n * interval '1 hour'",
        },
    ),
}
# Not these: there are as many as people made, and lists of all of them are counted.
_COUNTED = {"users", "agent_pools", "workspaces"}

_EMPTY = {
    "text": "''",
    "boolean": "false",
    "integer": "0",
    "bigint": "0",
    "jsonb": "'{}'::jsonb",
    "bytea": "''::bytea",
    "ARRAY": "'{}'",
    "timestamp with time zone": "now()",
}

_COLUMNS = """
select column_name as name, data_type as type from information_schema.columns
where table_name = $1 and is_nullable = 'NO' and is_identity = 'NO' and column_default is null
"""


# Indexes that hold but a few rows of their table may be read from end to end.
_SMALL = """
select c.relname as name from pg_index i join pg_class c on c.oid = i.indexrelid
where i.indpred is not null and c.reltuples <= $1
"""


def _grown() -> Mapping[str, tuple[int, Shape]]:
    return {**GROWN, **{table: (MANY, shape) for table, shape in samples.grown().items()}}


def grown_tables() -> set[str]:
    """The tables that are filled."""
    return set(_grown())


def growing() -> set[str]:
    """The tables of which no statement may read much."""
    return _grown().keys() - _COUNTED


async def grow() -> None:
    """Fill the tables that grow, and let the planner know."""
    for table, (count, shape) in _grown().items():
        needed = {row["name"]: _EMPTY[row["type"]] for row in await db.rows(_COLUMNS, table)}
        columns = needed | dict(shape)
        await db.execute(
            f"insert into {table} ({', '.join(columns)}) "
            f"select {', '.join(columns.values())} from generate_series(1, {count}) n "
            "on conflict do nothing"
        )
        await db.execute(f"analyze {table}")


class Statements:
    """Every statement that was made, with the arguments of one time."""

    def __init__(self) -> None:
        self.made: dict[str, tuple[Any, ...]] = {}

    def note(self, query: LoggedQuery) -> None:
        """Remember one."""
        if query.exception is None:
            self.made.setdefault(query.query, tuple(query.args))

    @asynccontextmanager
    async def recorded(self) -> AsyncIterator[None]:
        """Record what any connection of the pool does inside the block."""
        pool: Any = db.ENGINE.pool
        connections = [await pool.acquire() for _ in range(pool.get_max_size())]
        for connection in connections:
            connection.add_query_logger(self.note)
            await pool.release(connection)
        try:
            yield
        finally:
            connections = [await pool.acquire() for _ in range(pool.get_max_size())]
            for connection in connections:
                connection.remove_query_logger(self.note)
                await pool.release(connection)

    async def scans(self) -> list[str]:
        """What of them reads more of a growing table than it needs, and how."""
        small = {row["name"] for row in await db.rows(_SMALL, _ROWS)}
        found = []
        for statement, arguments in self.made.items():
            if statement.lstrip().lower().startswith(("select", "with", "insert", "update", "del")):
                plan = await db.value(f"explain (format json) {statement}", *arguments)
                steps = _steps(json.loads(plan)[0]["Plan"])
                bad = [step for step, at_most in steps if _scans(step, at_most, small)]
                found += [f"{_told(step)}: {' '.join(statement.split())}" for step in bad]
        return found


def _steps(plan: dict[str, Any], at_most: float = inf) -> Iterator[tuple[dict[str, Any], float]]:
    """The steps of a plan, each with how many rows are taken from it at most."""
    yield plan, at_most
    # Whatever sorts or counts takes all there is; these hand on as they are asked.
    asked = {"Limit": plan["Plan Rows"], "LockRows": at_most}.get(plan["Node Type"], inf)
    for inner in plan.get("Plans", ()):
        yield from _steps(inner, asked)


def _scans(step: dict[str, Any], at_most: float, small: set[str]) -> bool:
    rows = min(step["Plan Rows"], at_most)
    match step["Node Type"]:
        case "Seq Scan":
            return bool(step["Relation Name"] in growing())
        case "Index Scan" | "Index Only Scan" if step["Relation Name"] in growing():
            return bool(rows > _ROWS or not ("Index Cond" in step or step["Index Name"] in small))
        case "Bitmap Index Scan":
            return bool(rows > _ROWS)
    return False


def _told(step: dict[str, Any]) -> str:
    of = step.get("Index Name", step.get("Relation Name"))
    return f"{step['Node Type']} of {of}, {step['Plan Rows']} rows"


@contextmanager
def called(modules: list[ModuleType]) -> Iterator[set[str]]:
    """Which coroutines of these modules were called inside the block, by their names."""
    names = {
        function.__code__: f"{module.__name__}.{name}"
        for module in modules
        for name, function in inspect.getmembers(module, inspect.iscoroutinefunction)
        if function.__module__ == module.__name__
    }
    found: set[str] = set()

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in names:
            found.add(names[frame.f_code])

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield found
    finally:
        sys.setprofile(before)
