"""Locks, names and tags of a workspace, without a database."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from terrapod_control_plane.kernel.errors import Conflict, Unprocessable
from terrapod_control_plane.kernel.policy import Actor
from terrapod_control_plane.workspaces import lifecycle
from terrapod_control_plane.workspaces.model import Setup, Tag, Workspace, permissions

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PLAIN = Workspace(
    id="ws-1111111111111111", name="app", owner_id="user-1", created_at=NOW, updated_at=NOW
)
LOCKED = lifecycle.locked(PLAIN, "user-1", "why", NOW)
HELD = replace(PLAIN, held_by_run_id="run-1")


def test_a_lock_names_its_holder() -> None:
    assert (LOCKED.holder, LOCKED.locked, LOCKED.lock_reason) == ("user-1", True, "why")


@pytest.mark.parametrize("workspace", [LOCKED, HELD])
def test_what_is_locked_cannot_be_locked_again(workspace: Workspace) -> None:
    with pytest.raises(Conflict, match="locked already"):
        lifecycle.locked(workspace, "user-2", "", NOW)


def test_ones_own_lock_can_be_given_back() -> None:
    assert lifecycle.unlocked(LOCKED, "user-1") == PLAIN


@pytest.mark.parametrize(
    ("workspace", "by", "words"),
    [
        (LOCKED, "user-2", "is locked by User"),
        (HELD, "user-1", "is locked by Run"),
        (PLAIN, "user-1", "is not locked"),
    ],
)
def test_clients_are_told_why_it_stays_locked(workspace: Workspace, by: str, words: str) -> None:
    with pytest.raises(Conflict, match=words):
        lifecycle.unlocked(workspace, by)


def test_force_takes_a_persons_lock_and_never_a_runs() -> None:
    both = replace(LOCKED, held_by_run_id="run-1")
    assert lifecycle.force_unlocked(both).holder == "run-1"
    with pytest.raises(Conflict):
        lifecycle.force_unlocked(HELD)


@pytest.mark.parametrize(
    ("workspace", "words"),
    [
        (LOCKED, "locked"),
        (HELD, "being processed"),
        (replace(PLAIN, resource_count=2), "still managing resources"),
    ],
)
def test_what_is_not_safe_to_delete(workspace: Workspace, words: str) -> None:
    with pytest.raises(Conflict, match=words):
        lifecycle.safe_to_delete(workspace)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a.b", "x" * 91, "name\n", "ä"])
def test_bad_names(name: str) -> None:
    with pytest.raises(Unprocessable, match="Name can only include"):
        lifecycle.valid(Setup(name=name))


@pytest.mark.parametrize(
    "setup",
    [
        Setup(name="a", terraform_version="latest; rm"),
        Setup(name="a", working_directory="../x"),
        Setup(name="a", drift_detection_interval_seconds=60),
        Setup(name="a", resource_memory="much"),
        Setup(name="a", resource_memory="2"),
        Setup(name="a", resource_memory="63Mi"),
        Setup(name="a", resource_memory="500m"),
        Setup(name="a", resource_memory="9" * 40),
    ],
)
def test_bad_setups(setup: Setup) -> None:
    with pytest.raises(Unprocessable):
        lifecycle.valid(setup)


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 0), ("2Gi", 2**31), ("64Mi", 2**26), ("1.5G", 1_500_000_000), ("100000000", 10**8)],
)
def test_the_memory_of_a_workspace_in_bytes(text: str, size: int) -> None:
    setup = Setup(name="a", resource_memory=text)
    lifecycle.valid(setup)
    assert setup.memory_bytes == size


@pytest.mark.parametrize("version", ["latest", "1.11.4", "~> 1.11", ">= 1.3, < 2.0", ""])
def test_good_versions(version: str) -> None:
    lifecycle.valid(Setup(name="a", terraform_version=version))


def test_tags_are_added_and_taken_off() -> None:
    tagged = lifecycle.tagged(PLAIN, [Tag("plain"), Tag("env", "dev"), Tag("env", "prod")])
    assert tagged.tags == [Tag("env", "prod"), Tag("plain")]
    assert tagged.tag_names == ["plain"]
    assert lifecycle.untagged(tagged, ["env", "other"]).tags == [Tag("plain")]


def test_an_empty_tag_is_refused() -> None:
    with pytest.raises(Unprocessable):
        lifecycle.tagged(PLAIN, [Tag("")])


def test_permissions_follow_the_policy() -> None:
    owner = permissions(Actor(kind="user", id="user-1"), PLAIN.scope)
    auditor = permissions(Actor(kind="user", id="user-2", roles=frozenset({"audit"})), PLAIN.scope)
    assert owner.can_force_delete
    assert owner.can_queue_apply
    assert auditor.can_read_state_versions
    assert not auditor.can_queue_run
