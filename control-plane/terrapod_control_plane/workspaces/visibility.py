"""Who sees which workspaces, in SQL: the one expression that all lists and includes go by.

It finds what :func:`policy.level` gives at least the right to read on; a property test holds the
two equal. What an actor can or can't see anyway is decided here and not by PostgreSQL, so that a
list of everything costs no condition and a list of one's own is found by its index.

An expression takes parameters of its own behind those of the query that it is put into::

    seen = visibility.of_workspaces(actor, after=1)
    sql = f"select id from workspaces where name = $1 and {seen.sql}"
    await db.rows(sql, name, *seen.args)
"""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from terrapod_control_plane.kernel.policy import AUDIT, Actor, LabelRole, Level


class Expression(Struct, frozen=True):
    """A condition in SQL, and the arguments of its parameters."""

    sql: str
    args: tuple[object, ...] = ()


ALL = Expression("true")
NONE = Expression("false")


def of_workspaces(actor: Actor, after: int, of: str = "workspaces") -> Expression:
    """Whether an actor sees a workspace.

    Args:
        actor: Who asks.
        after: How many parameters the query has before those of the expression.
        of: What the query calls the table of workspaces.
    """
    if actor.kind == "system" or (actor.kind == "user" and actor.roles & AUDIT):
        return ALL
    if actor.kind != "user":
        return NONE
    owned = f"{of}.owner_id = ${after + 1}"
    if not actor.label_roles:
        return Expression(owned, (actor.id,))
    allowed, denied = (_labelled(of, after + number) for number in (2, 4))
    sql = f"({owned} or ({allowed} and not {denied}))"
    return Expression(sql, (actor.id, *_arguments(actor.label_roles)))


def of_column(actor: Actor, column: str, after: int) -> Expression:
    """Whether an actor sees the workspace that a column names, for the tables of other slices."""
    seen = of_workspaces(actor, after)
    if seen in (ALL, NONE):
        return seen
    return Expression(f"{column} in (select id from workspaces where {seen.sql})", seen.args)


def _labelled(of: str, first: int) -> str:
    labels = f"{of}.labels @> any(${first + 1}::text[]::jsonb[])"
    return f"({of}.name = any(${first}::text[]) or {labels})"


def _arguments(roles: Iterable[LabelRole]) -> Iterable[list[str]]:
    """Names and labels that any of the roles allows, and those that any denies."""
    roles = list(roles)
    giving = [role for role in roles if role.level >= Level.READ]
    yield sorted({name for role in giving for name in role.allow_names})
    yield _objects({label for role in giving for label in role.allow_labels})
    yield sorted({name for role in roles for name in role.deny_names})
    yield _objects({label for role in roles for label in role.deny_labels})


def _objects(labels: Iterable[tuple[str, str]]) -> list[str]:
    return [msgspec.json.encode({key: value}).decode() for key, value in sorted(labels)]
