"""The whole table of who may do what, written out a second time."""

import pytest
from msgspec.structs import replace

from terrapod_control_plane.agents.actions import (
    JOIN_TOKEN_MANAGE,
    JOIN_TOKEN_READ,
    LISTENER_ACT,
    LISTENER_MANAGE,
    LISTENER_READ,
    POOL_MANAGE,
    POOL_READ,
)
from terrapod_control_plane.identity.actions import ACCOUNT_READ, TOKEN_MANAGE, TOKEN_READ
from terrapod_control_plane.kernel.policy import (
    PLATFORM,
    Action,
    Actor,
    LabelRole,
    Level,
    Scope,
    Where,
    allows,
    level,
)
from terrapod_control_plane.organizations.actions import ORGANIZATION_READ
from terrapod_control_plane.runs.actions import QUEUE_READ, RECOVERY_READ, RECOVERY_RESUME
from terrapod_control_plane.toolchains.actions import TOOL_FETCH, TOOL_MANAGE, TOOL_READ
from terrapod_control_plane.workspaces.actions import (
    CONFIGURATION_READ,
    CONFIGURATION_SPECULATE,
    CONFIGURATION_WRITE,
    RUN_APPLY,
    RUN_PLAN,
    RUN_READ,
    STATE_DOWNLOAD,
    STATE_READ,
    STATE_WRITE,
    VARIABLE_READ,
    VARIABLE_WRITE,
    WORKSPACE_CREATE,
    WORKSPACE_DELETE,
    WORKSPACE_FORCE_UNLOCK,
    WORKSPACE_HOLD,
    WORKSPACE_LIST,
    WORKSPACE_LOCK,
    WORKSPACE_READ,
    WORKSPACE_SET_VERSION,
    WORKSPACE_UNLOCK,
    WORKSPACE_UPDATE,
)
from terrapod_control_plane.workspaces.model import _ASKED, permissions
from tests.kit import samples
from tests.kit.actions import declared
from tests.kit.verdicts import ADMIN, AUDIT, OWN, PERSON, READ, USER, WRITE, A, F, Row, U

ACTORS = {
    "nobody": Actor(),
    "stranger": Actor(kind="user", id="user-stranger"),
    "owner": Actor(kind="user", id="user-owner"),
    "audit": Actor(kind="user", id="user-audit", roles=frozenset({"audit"})),
    "admin": Actor(kind="user", id="user-admin", roles=frozenset({"admin"})),
    "listener": Actor(kind="listener", id="listener-own", pool="apool-1"),
    "foreign": Actor(kind="listener", id="listener-foreign", pool="apool-1"),
    "system": Actor(kind="system"),
}
SCOPES = {
    Where.WORKSPACE: Scope(where=Where.WORKSPACE, id="ws-1", owner="user-owner"),
    Where.USER: Scope(where=Where.USER, id="user-owner"),
    Where.LISTENER: Scope(where=Where.LISTENER, id="listener-own"),
    Where.PLATFORM: PLATFORM,
}

TABLE: dict[Action, Row] = {
    WORKSPACE_CREATE: PERSON,
    WORKSPACE_LIST: PERSON,
    WORKSPACE_READ: READ,
    WORKSPACE_UPDATE: WRITE,
    WORKSPACE_SET_VERSION: WRITE,
    WORKSPACE_DELETE: WRITE,
    WORKSPACE_LOCK: WRITE,
    WORKSPACE_UNLOCK: WRITE,
    WORKSPACE_FORCE_UNLOCK: WRITE,
    WORKSPACE_HOLD: WRITE,
    VARIABLE_READ: READ,
    VARIABLE_WRITE: WRITE,
    STATE_READ: READ,
    STATE_DOWNLOAD: WRITE,
    STATE_WRITE: WRITE,
    CONFIGURATION_READ: READ,
    CONFIGURATION_SPECULATE: WRITE,
    CONFIGURATION_WRITE: WRITE,
    RUN_READ: READ,
    RUN_PLAN: WRITE,
    RUN_APPLY: WRITE,
    QUEUE_READ: PERSON,
    ORGANIZATION_READ: PERSON,
    POOL_READ: PERSON,
    POOL_MANAGE: ADMIN,
    JOIN_TOKEN_READ: AUDIT,
    JOIN_TOKEN_MANAGE: ADMIN,
    LISTENER_READ: AUDIT,
    LISTENER_MANAGE: ADMIN,
    LISTENER_ACT: OWN | {"admin": U},
    TOOL_READ: PERSON,
    TOOL_FETCH: PERSON | {"listener": A, "foreign": A},
    TOOL_MANAGE: ADMIN,
    RECOVERY_READ: AUDIT,
    RECOVERY_RESUME: ADMIN,
    ACCOUNT_READ: PERSON,
    TOKEN_READ: USER,
    TOKEN_MANAGE: USER | {"audit": F},
    **samples.permissions(),
}


def test_the_table_is_whole() -> None:
    untold = [action.text for action in declared().values() if action not in TABLE]
    assert not untold, f"who may do it is not said in permissions of {samples.AT}: {untold}"
    assert set(TABLE) == set(declared().values())
    assert all(set(row) == set(ACTORS) - {"system"} for row in TABLE.values())


@pytest.mark.parametrize("action", declared().values(), ids=lambda action: action.text)
def test_the_verdict(action: Action) -> None:
    scope = SCOPES[action.need.where]
    decided = {name: allows(actor, action, scope) for name, actor in ACTORS.items()}
    assert decided == {**TABLE[action], "system": A}


def test_no_owner_is_not_the_owner_of_what_nobody_owns() -> None:
    orphan = Scope(where=Where.WORKSPACE, id="ws-2", owner=None)
    for name in ("nobody", "stranger", "listener"):
        assert allows(ACTORS[name], WORKSPACE_READ, orphan) is U
    empty = Scope(where=Where.WORKSPACE, id="ws-3", owner="")
    assert allows(Actor(), WORKSPACE_READ, empty) is U


@pytest.mark.parametrize("actor", ACTORS.values(), ids=ACTORS)
def test_a_workspace_shows_what_may_be_done_with_it(actor: Actor) -> None:
    shown = permissions(actor, SCOPES[Where.WORKSPACE])
    for name, action in _ASKED.items():
        allowed = allows(actor, action, SCOPES[Where.WORKSPACE]) is A
        assert getattr(shown, name) is allowed, name


def workspace(name: str, **labels: str) -> Scope:
    return Scope(where=Where.WORKSPACE, id=f"ws-{name}", name=name, owner="other", labels=labels)


def test_roles_give_what_their_labels_and_names_say() -> None:
    dev = LabelRole(level=Level.WRITE, allow_labels=frozenset({("env", "dev"), ("team", "web")}))
    named = LabelRole(level=Level.READ, allow_names=frozenset({"shop"}))
    nothing = LabelRole(level=Level.NONE, allow_names=frozenset({"closed"}))
    actor = Actor(kind="user", id="user-1", label_roles=(dev, named, nothing))
    given = {
        "shop": level(actor, workspace("shop")),
        "dev": level(actor, workspace("x", env="dev", team="db")),
        "both": level(actor, workspace("shop", team="web")),
        "prod": level(actor, workspace("x", env="prod")),
        "closed": level(actor, workspace("closed")),
    }
    assert given == {
        "shop": Level.READ,
        "dev": Level.WRITE,
        "both": Level.WRITE,
        "prod": Level.NONE,
        "closed": Level.NONE,
    }


def test_what_one_role_denies_no_other_gives_but_owners_and_the_platform_do() -> None:
    dev = LabelRole(level=Level.ADMIN, allow_labels=frozenset({("env", "dev")}))
    secret = LabelRole(
        level=Level.READ, deny_names=frozenset({"vault"}), deny_labels=frozenset({("secret", "1")})
    )
    actor = Actor(kind="user", id="user-1", label_roles=(dev, secret))
    denied = [workspace("vault", env="dev"), workspace("x", env="dev", secret="1")]
    assert [level(actor, scope) for scope in denied] == [Level.NONE, Level.NONE]
    assert level(actor, workspace("x", env="dev")) is Level.ADMIN
    audit = replace(actor, roles=frozenset({"audit"}))
    assert [level(audit, scope) for scope in denied] == [Level.READ, Level.READ]
    owner = replace(actor, id="other")
    assert [level(owner, scope) for scope in denied] == [Level.ADMIN, Level.ADMIN]
