"""Who may write which state."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from terrapod_control_plane.kernel.errors import Conflict, Unprocessable
from terrapod_control_plane.states import lifecycle
from terrapod_control_plane.states.model import Offer, StateVersion

CURRENT = StateVersion(
    id="sv-1",
    workspace_id="ws-1",
    run_id=None,
    created_by="user-1",
    created_at=datetime(2026, 1, 2, tzinfo=UTC),
    status="finalized",
    serial=5,
    lineage="l",
    md5="m5",
)
NEXT = Offer(by="user-1", serial=6, lineage="l", md5="m6")
LOWER = Offer(by="user-1", serial=4, lineage="l", md5="m4")
FOREIGN = Offer(by="user-1", serial=9, lineage="other", md5="m9")
SAME = Offer(by="user-1", serial=5, lineage="l", md5="m5")
CLASH = Offer(by="user-1", serial=5, lineage="l", md5="other")


@pytest.mark.parametrize("offer", [NEXT, SAME, Offer(by="user-1", serial=6, lineage="", md5="m6")])
def test_on_an_unlocked_workspace_a_state_follows(offer: Offer) -> None:
    lifecycle.may_write(offer, CURRENT, locked_by=None, run=None)


@pytest.mark.parametrize("offer", [LOWER, FOREIGN, CLASH])
def test_on_an_unlocked_workspace_nothing_else_is_taken(offer: Offer) -> None:
    with pytest.raises(Conflict):
        lifecycle.may_write(offer, CURRENT, locked_by=None, run=None)
    lifecycle.may_write(replace(offer, force=True), CURRENT, locked_by=None, run=None)


@pytest.mark.parametrize("offer", [NEXT, LOWER, FOREIGN, SAME])
def test_the_holder_writes_what_they_want(offer: Offer) -> None:
    lifecycle.may_write(offer, CURRENT, locked_by="user-1", run=None)


def test_nobody_replaces_a_state_under_its_own_serial() -> None:
    with pytest.raises(Conflict, match="another state with the serial 5"):
        lifecycle.may_write(CLASH, CURRENT, locked_by="user-1", run=None)


@pytest.mark.parametrize("offer", [NEXT, replace(NEXT, force=True), SAME])
@pytest.mark.parametrize(("locked_by", "run"), [("user-2", None), (None, "run-1")])
def test_nobody_writes_beside_another(offer: Offer, locked_by: str | None, run: str | None) -> None:
    with pytest.raises(Conflict):
        lifecycle.may_write(offer, CURRENT, locked_by=locked_by, run=run)


def test_the_first_state_is_free() -> None:
    lifecycle.may_write(FOREIGN, None, locked_by=None, run=None)


@pytest.mark.parametrize("change", [{"serial": 4}, {"lineage": "other"}])
def test_a_run_goes_on_from_the_current_state(change: dict[str, object]) -> None:
    lifecycle.continues(replace(CURRENT, md5="new"), CURRENT)
    lifecycle.continues(replace(CURRENT, **change), None)
    with pytest.raises(Unprocessable):
        lifecycle.continues(replace(CURRENT, **change), CURRENT)
