"""The whole table of who may do what, written out a second time."""

import pytest

from terrapod_control_plane.kernel.policy import (
    PLATFORM,
    Action,
    Actor,
    Scope,
    Verdict,
    Where,
    allows,
)

A, F, U = Verdict.ALLOWED, Verdict.FORBIDDEN, Verdict.UNSEEN

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

READ = {"nobody": U, "stranger": U, "owner": A, "audit": A, "admin": A, "listener": U, "foreign": U}
WRITE = READ | {"audit": F}
PERSON = {
    "nobody": F, "stranger": A, "owner": A, "audit": A, "admin": A, "listener": F, "foreign": F,
}  # fmt: skip
ADMIN = PERSON | {"stranger": F, "owner": F, "audit": F}
AUDIT = ADMIN | {"audit": A}
OWN = dict.fromkeys(READ, U) | {"listener": A}
USER = {"nobody": U, "stranger": U, "owner": A, "audit": A, "admin": A, "listener": U, "foreign": U}

TABLE = {
    Action.WORKSPACE_CREATE: PERSON,
    Action.WORKSPACE_LIST: PERSON,
    Action.WORKSPACE_READ: READ,
    Action.WORKSPACE_UPDATE: WRITE,
    Action.WORKSPACE_SET_VERSION: WRITE,
    Action.WORKSPACE_DELETE: WRITE,
    Action.WORKSPACE_LOCK: WRITE,
    Action.WORKSPACE_UNLOCK: WRITE,
    Action.WORKSPACE_FORCE_UNLOCK: WRITE,
    Action.WORKSPACE_HOLD: WRITE,
    Action.VARIABLE_READ: READ,
    Action.VARIABLE_WRITE: WRITE,
    Action.STATE_READ: READ,
    Action.STATE_DOWNLOAD: WRITE,
    Action.STATE_WRITE: WRITE,
    Action.CONFIGURATION_READ: READ,
    Action.CONFIGURATION_SPECULATE: WRITE,
    Action.CONFIGURATION_WRITE: WRITE,
    Action.RUN_READ: READ,
    Action.RUN_PLAN: WRITE,
    Action.RUN_APPLY: WRITE,
    Action.QUEUE_READ: PERSON,
    Action.ORGANIZATION_READ: PERSON,
    Action.POOL_READ: PERSON,
    Action.POOL_MANAGE: ADMIN,
    Action.JOIN_TOKEN_READ: AUDIT,
    Action.JOIN_TOKEN_MANAGE: ADMIN,
    Action.LISTENER_READ: AUDIT,
    Action.LISTENER_MANAGE: ADMIN,
    Action.LISTENER_ACT: OWN | {"admin": U},
    Action.TOOL_READ: PERSON,
    Action.TOOL_FETCH: PERSON | {"listener": A, "foreign": A},
    Action.TOOL_MANAGE: ADMIN,
    Action.RECOVERY_READ: AUDIT,
    Action.RECOVERY_RESUME: ADMIN,
    Action.ACCOUNT_READ: PERSON,
    Action.TOKEN_READ: USER,
    Action.TOKEN_MANAGE: USER | {"audit": F},
}


def test_the_table_is_whole() -> None:
    assert set(TABLE) == set(Action)
    assert all(set(row) == set(ACTORS) - {"system"} for row in TABLE.values())


@pytest.mark.parametrize("action", Action, ids=lambda action: action.text)
def test_the_verdict(action: Action) -> None:
    scope = SCOPES[action.need.where]
    decided = {name: allows(actor, action, scope) for name, actor in ACTORS.items()}
    assert decided == TABLE[action] | {"system": A}


def test_no_owner_is_not_the_owner_of_what_nobody_owns() -> None:
    orphan = Scope(where=Where.WORKSPACE, id="ws-2", owner=None)
    for name in ("nobody", "stranger", "listener"):
        assert allows(ACTORS[name], Action.WORKSPACE_READ, orphan) is U
    empty = Scope(where=Where.WORKSPACE, id="ws-3", owner="")
    assert allows(Actor(), Action.WORKSPACE_READ, empty) is U


def test_lists_show_what_is_owned_or_everything() -> None:
    assert ACTORS["stranger"].visibility.everything is False
    assert ACTORS["stranger"].visibility.owner == "user-stranger"
    assert ACTORS["admin"].visibility.everything
    assert ACTORS["audit"].visibility.everything
