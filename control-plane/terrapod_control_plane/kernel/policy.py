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


_ADMIN = frozenset({"admin"})
_AUDIT = frozenset({"admin", "audit"})


class Action(enum.Enum):
    """Everything that permission is asked for, with what it needs."""

    WORKSPACE_CREATE = "workspace.create", Need(Where.PLATFORM)
    WORKSPACE_LIST = "workspace.list", Need(Where.PLATFORM)
    WORKSPACE_READ = "workspace.read", Need(Where.WORKSPACE, Level.READ)
    WORKSPACE_UPDATE = "workspace.update", Need(Where.WORKSPACE, Level.ADMIN)
    WORKSPACE_SET_VERSION = "workspace.set-version", Need(Where.WORKSPACE, Level.WRITE)
    WORKSPACE_DELETE = "workspace.delete", Need(Where.WORKSPACE, Level.ADMIN)
    WORKSPACE_LOCK = "workspace.lock", Need(Where.WORKSPACE, Level.PLAN)
    WORKSPACE_UNLOCK = "workspace.unlock", Need(Where.WORKSPACE, Level.PLAN)
    WORKSPACE_FORCE_UNLOCK = "workspace.force-unlock", Need(Where.WORKSPACE, Level.ADMIN)
    WORKSPACE_HOLD = "workspace.hold", Need(Where.WORKSPACE, Level.WRITE)

    VARIABLE_READ = "variable.read", Need(Where.WORKSPACE, Level.READ)
    VARIABLE_WRITE = "variable.write", Need(Where.WORKSPACE, Level.WRITE)

    STATE_READ = "state.read", Need(Where.WORKSPACE, Level.READ)
    STATE_DOWNLOAD = "state.download", Need(Where.WORKSPACE, Level.PLAN)
    STATE_WRITE = "state.write", Need(Where.WORKSPACE, Level.WRITE)

    CONFIGURATION_READ = "configuration.read", Need(Where.WORKSPACE, Level.READ)
    CONFIGURATION_SPECULATE = "configuration.speculate", Need(Where.WORKSPACE, Level.PLAN)
    CONFIGURATION_WRITE = "configuration.write", Need(Where.WORKSPACE, Level.WRITE)

    RUN_READ = "run.read", Need(Where.WORKSPACE, Level.READ)
    RUN_PLAN = "run.plan", Need(Where.WORKSPACE, Level.PLAN)
    RUN_APPLY = "run.apply", Need(Where.WORKSPACE, Level.WRITE)
    QUEUE_READ = "queue.read", Need(Where.PLATFORM)

    ORGANIZATION_READ = "organization.read", Need(Where.PLATFORM)
    POOL_READ = "pool.read", Need(Where.PLATFORM)
    POOL_MANAGE = "pool.manage", Need(Where.PLATFORM, roles=_ADMIN)
    JOIN_TOKEN_READ = "join-token.read", Need(Where.PLATFORM, roles=_AUDIT)
    JOIN_TOKEN_MANAGE = "join-token.manage", Need(Where.PLATFORM, roles=_ADMIN)
    LISTENER_READ = "listener.read", Need(Where.PLATFORM, roles=_AUDIT)
    LISTENER_MANAGE = "listener.manage", Need(Where.PLATFORM, roles=_ADMIN)
    LISTENER_ACT = "listener.act", Need(Where.LISTENER)
    TOOL_READ = "tool.read", Need(Where.PLATFORM)
    TOOL_FETCH = "tool.fetch", Need(Where.PLATFORM)
    TOOL_MANAGE = "tool.manage", Need(Where.PLATFORM, roles=_ADMIN)

    RECOVERY_READ = "recovery.read", Need(Where.PLATFORM, roles=_AUDIT)
    RECOVERY_RESUME = "recovery.resume", Need(Where.PLATFORM, roles=_ADMIN)

    ACCOUNT_READ = "account.read", Need(Where.PLATFORM)
    TOKEN_READ = "token.read", Need(Where.USER)
    TOKEN_MANAGE = "token.manage", Need(Where.USER)

    def __init__(self, text: str, need: Need) -> None:
        self.text = text
        self.need = need


# What a listener may do beside acting as itself.
_LISTENERS_MAY = {Action.TOOL_FETCH}


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
        return Visibility(everything=bool(self.roles & _AUDIT), owner=self.id)


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
        return Verdict.ALLOWED if action in _LISTENERS_MAY else Verdict.FORBIDDEN
    roles = action.need.roles
    allowed = actor.kind == "user" and (roles is None or bool(actor.roles & roles))
    return Verdict.ALLOWED if allowed else Verdict.FORBIDDEN


def _on_user(actor: Actor, action: Action, scope: Scope) -> Verdict:
    if actor.kind != "user":
        return Verdict.UNSEEN
    if actor.id == scope.id or "admin" in actor.roles:
        return Verdict.ALLOWED
    if "audit" in actor.roles:
        return Verdict.ALLOWED if action is Action.TOKEN_READ else Verdict.FORBIDDEN
    return Verdict.UNSEEN
