"""The whole table of who may do what, written out a second time."""

import pytest

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
    Scope,
    Where,
    allows,
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


def test_lists_show_what_is_owned_or_everything() -> None:
    assert ACTORS["stranger"].visibility.everything is False
    assert ACTORS["stranger"].visibility.owner == "user-stranger"
    assert ACTORS["admin"].visibility.everything
    assert ACTORS["audit"].visibility.everything
