"""Who may do what: pure, and the only place that decides."""

import enum
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct


class Level(enum.IntEnum):
    """How far somebody's rights on a workspace go; each includes those before."""

    NONE = 0
    READ = 1
    PLAN = 2
    WRITE = 3
    ADMIN = 4


class Where(enum.Enum):
    """What kind of thing an action is done to."""

    WORKSPACE = enum.auto()
    PLATFORM = enum.auto()
    USER = enum.auto()
    LISTENER = enum.auto()


class Need(Struct, frozen=True):
    """What an action asks for."""

    where: Where
    level: Level = Level.NONE  # on a workspace
    roles: frozenset[str] | None = None  # on the platform: one of these; none named: any person


ADMIN = frozenset({"admin"})
AUDIT = frozenset({"admin", "audit"})


class Action(Struct, frozen=True):
    """Something that permission is asked for, with what it needs; declared in ``actions.py``."""

    text: str
    need: Need
    by_listeners: bool = False  # on the platform: agents may do it too


class LabelRole(Struct, frozen=True, kw_only=True):
    """A role of a person on the workspaces that it names, or that have one of its labels."""

    level: Level
    allow_names: frozenset[str] = frozenset()
    allow_labels: frozenset[tuple[str, str]] = frozenset()
    deny_names: frozenset[str] = frozenset()
    deny_labels: frozenset[tuple[str, str]] = frozenset()


class Actor(Struct, frozen=True, kw_only=True):
    """Who asks."""

    kind: Literal["nobody", "user", "listener", "system"] = "nobody"
    id: str = ""
    name: str = ""
    email: str = ""
    roles: frozenset[str] = frozenset()  # of the platform: admin, audit
    label_roles: tuple[LabelRole, ...] = ()  # on workspaces; nobody is given one yet
    pool: str = ""  # of a listener
    credential: str = ""  # of a listener: the fingerprint of its certificate


class Scope(Struct, frozen=True, kw_only=True):
    """What permission is asked on: the workspace, user or listener that an id belongs to."""

    where: Where
    id: str = ""
    name: str = ""
    owner: str | None = None
    labels: dict[str, str] = {}


PLATFORM = Scope(where=Where.PLATFORM)


class Verdict(enum.Enum):
    """Allowed, seen but not allowed (403), or not to be known of (404)."""

    ALLOWED = enum.auto()
    FORBIDDEN = enum.auto()
    UNSEEN = enum.auto()


def level(actor: Actor, scope: Scope) -> Level:
    """How far the actor's rights on a workspace go.

    ``workspaces/visibility.py`` says in SQL where that is anything at all.
    """
    if actor.kind == "system" or (actor.kind == "user" and "admin" in actor.roles):
        return Level.ADMIN
    if actor.kind != "user":
        return Level.NONE
    if scope.owner == actor.id:
        return Level.ADMIN
    everywhere = Level.READ if "audit" in actor.roles else Level.NONE
    return max(everywhere, _by_labels(actor.label_roles, scope))


def _by_labels(roles: Sequence[LabelRole], scope: Scope) -> Level:
    """What roles give on a workspace; what one of them denies, no other gives."""
    name, labels = scope.name, frozenset(scope.labels.items())
    if any(name in role.deny_names or labels & role.deny_labels for role in roles):
        return Level.NONE
    given = [r.level for r in roles if name in r.allow_names or labels & r.allow_labels]
    return max(given, default=Level.NONE)


def allows(actor: Actor, action: Action, scope: Scope) -> Verdict:
    """The decision."""
    need = action.need
    if actor.kind == "system":
        return Verdict.ALLOWED
    match need.where:
        case Where.WORKSPACE:
            return at_level(level(actor, scope), need)
        case Where.PLATFORM:
            return _on_platform(actor, action)
        case Where.USER:
            return _on_user(actor, action, scope)
        case Where.LISTENER:
            own = actor.kind == "listener" and actor.id == scope.id
            return Verdict.ALLOWED if own else Verdict.UNSEEN


def at_level(has: Level, need: Need) -> Verdict:
    """The decision on a workspace, of which nothing counts but how far one's rights go."""
    if has >= need.level:
        return Verdict.ALLOWED
    return Verdict.FORBIDDEN if has >= Level.READ else Verdict.UNSEEN


def _on_platform(actor: Actor, action: Action) -> Verdict:
    if actor.kind == "listener":
        return Verdict.ALLOWED if action.by_listeners else Verdict.FORBIDDEN
    roles = action.need.roles
    allowed = actor.kind == "user" and (roles is None or bool(actor.roles & roles))
    return Verdict.ALLOWED if allowed else Verdict.FORBIDDEN


def _on_user(actor: Actor, action: Action, scope: Scope) -> Verdict:
    if actor.kind != "user":
        return Verdict.UNSEEN
    if actor.id == scope.id or "admin" in actor.roles:
        return Verdict.ALLOWED
    if "audit" in actor.roles:
        return Verdict.ALLOWED if action.need.level <= Level.READ else Verdict.FORBIDDEN
    return Verdict.UNSEEN
