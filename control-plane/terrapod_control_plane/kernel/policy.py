"""Who may do what: pure, and the only place that decides."""

import enum
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


class Actor(Struct, frozen=True, kw_only=True):
    """Who asks."""

    kind: Literal["nobody", "user", "listener", "system"] = "nobody"
    id: str = ""
    name: str = ""
    email: str = ""
    roles: frozenset[str] = frozenset()  # of the platform: admin, audit
    pool: str = ""  # of a listener
    credential: str = ""  # of a listener: the fingerprint of its certificate

    @property
    def visibility(self) -> "Visibility":
        """Which workspaces a list may show."""
        return Visibility(everything=bool(self.roles & AUDIT), owner=self.id)


class Visibility(Struct, frozen=True):
    """A filter for lists: everything, or what somebody owns."""

    everything: bool
    owner: str


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
    """How far the actor's rights on a workspace go."""
    if actor.kind == "system" or (actor.kind == "user" and "admin" in actor.roles):
        return Level.ADMIN
    if actor.kind != "user":
        return Level.NONE
    if scope.owner == actor.id:
        return Level.ADMIN
    return Level.READ if "audit" in actor.roles else Level.NONE


def allows(actor: Actor, action: Action, scope: Scope) -> Verdict:
    """The decision."""
    need = action.need
    if actor.kind == "system":
        return Verdict.ALLOWED
    match need.where:
        case Where.WORKSPACE:
            return _on_workspace(actor, need, scope)
        case Where.PLATFORM:
            return _on_platform(actor, action)
        case Where.USER:
            return _on_user(actor, action, scope)
        case Where.LISTENER:
            own = actor.kind == "listener" and actor.id == scope.id
            return Verdict.ALLOWED if own else Verdict.UNSEEN


def _on_workspace(actor: Actor, need: Need, scope: Scope) -> Verdict:
    has = level(actor, scope)
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
