"""The table of a run's moves, walked at random."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrapod_control_plane.kernel.errors import Conflict
from terrapod_control_plane.runs import lifecycle
from terrapod_control_plane.runs.lifecycle import MOVES
from terrapod_control_plane.runs.model import ENDED, FINAL, Phase, PhaseStatus, Run, Status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
S = Status


def a_run(status: Status = S.PENDING, **changes: Any) -> Run:
    run = Run(
        id="run-1",
        workspace_id="ws-1",
        configuration_version_id=None,
        pool_id="apool-1",
        plan_id="plan-1",
        apply_id="apply-1",
        status=status,
        status_timestamps={},
        is_current=False,
        message="",
        source="tfe-api",
        trigger_reason="manual",
        terraform_version="1.9.0",
        tool="terraform",
        workspace_name="net",
        working_directory="",
        is_destroy=False,
        auto_apply=False,
        plan_only=False,
        save_plan=False,
        refresh=True,
        refresh_only=False,
        allow_empty_apply=False,
        allow_config_generation=False,
        target_addrs=[],
        replace_addrs=[],
        variables=None,
        created_by=None,
        created_at=NOW,
        changed_at=NOW,
    )
    return msgspec.structs.replace(run, **changes)


def a_phase(**changes: Any) -> Phase:
    phase = Phase(id="plan-1", run_id="run-1", workspace_id="ws-1", kind="plan", pool_id=None)
    return msgspec.structs.replace(phase, **changes)


def test_every_status_has_its_moves_and_the_final_ones_none() -> None:
    assert set(MOVES) == set(Status)
    assert {status for status, moves in MOVES.items() if not moves} == FINAL


def test_every_status_is_reached() -> None:
    reached = {S.PENDING}
    while more := {to for status in reached for to in MOVES[status]} - reached:
        reached |= more
    assert reached == set(Status)


@given(st.data())
def test_a_walk_ends_stamped_and_current_only_while_it_goes_on(data: st.DataObject) -> None:
    run = a_run(is_current=data.draw(st.booleans()))
    at, applying = NOW, False
    for _ in range(20):
        if not MOVES[run.status]:
            break
        at += MINUTE
        to = data.draw(st.sampled_from(sorted(MOVES[run.status], key=str)))
        was = run
        run = lifecycle.moved(run, to, at)
        assert run.changed_at == at
        assert at in run.status_timestamps.values()
        assert set(was.status_timestamps) <= set(run.status_timestamps)
        assert run.is_current == (was.is_current and not run.final)
        assert not (applying and run.status not in FINAL), "an apply never goes back"
        applying = applying or run.status is S.APPLYING
    if run.final:
        assert not run.is_current


@given(st.sampled_from(Status), st.sampled_from(Status))
def test_only_moves_of_the_table_are_made(status: Status, to: Status) -> None:
    run = a_run(status)
    if to in MOVES[status]:
        assert lifecycle.moved(run, to, NOW).status is to
    else:
        with pytest.raises(Conflict, match="transition not allowed"):
            lifecycle.moved(run, to, NOW)


def test_each_status_stamps_itself_under_its_own_name() -> None:
    named = {
        to: set(lifecycle.moved(a_run(status), to, NOW).status_timestamps)
        for status, moves in MOVES.items()
        for to in moves
    }
    flat = [name for names in named.values() for name in names]
    assert len(flat) == len(set(flat)) == len(named)
    assert named[S.APPLIED] == {"applied-at"}


@pytest.mark.parametrize(
    ("flags", "has_changes", "to"),
    [
        ({}, True, S.PLANNED),
        ({}, False, S.PLANNED_AND_FINISHED),
        ({"allow_empty_apply": True}, False, S.PLANNED),
        ({"save_plan": True}, True, S.PLANNED_AND_SAVED),
        ({"save_plan": True}, False, S.PLANNED_AND_FINISHED),
        ({"plan_only": True}, True, S.PLANNED_AND_FINISHED),
        ({"plan_only": True, "allow_empty_apply": True}, False, S.PLANNED_AND_FINISHED),
        ({"plan_only": True, "save_plan": True}, True, S.PLANNED_AND_FINISHED),
    ],
)
def test_what_a_plan_leads_to(flags: dict[str, bool], has_changes: bool, to: Status) -> None:  # noqa: FBT001 - a table
    run = lifecycle.planned(a_run(S.PLANNING, **flags), NOW, has_changes=has_changes)
    assert (run.status, run.has_changes) == (to, has_changes)


@pytest.mark.parametrize("flag", ["plan_only", "save_plan"])
def test_only_a_run_that_may_apply_takes_the_workspace(flag: str) -> None:
    assert lifecycle.take_turn(a_run(), NOW).is_current
    beside = msgspec.structs.replace(a_run(), **{flag: True})
    assert not lifecycle.take_turn(beside, NOW).is_current


@given(st.sampled_from(Status))
def test_confirm(status: Status) -> None:
    if status in lifecycle.CONFIRMABLE:
        run = lifecycle.confirm(a_run(status), NOW, by="user-1")
        assert (run.status, run.confirmed_by, run.is_current) == (S.CONFIRMED, "user-1", True)
    else:
        with pytest.raises(Conflict):
            lifecycle.confirm(a_run(status), NOW, by="user-1")


@given(st.sampled_from(Status))
def test_discard(status: Status) -> None:
    if status in {S.PENDING, S.PLANNED, S.PLANNED_AND_SAVED, S.CONFIRMED}:
        run = lifecycle.discard(a_run(status, is_current=True), NOW, reason="no")
        assert (run.status, run.reason, run.is_current) == (S.DISCARDED, "no", False)
    else:
        with pytest.raises(Conflict, match="transition not allowed"):
            lifecycle.discard(a_run(status), NOW)


@given(st.sampled_from(Status))
def test_cancel_ends_what_waits_and_asks_what_runs(status: Status) -> None:
    run = a_run(status, is_current=True)
    if status in {S.PLANNING, S.APPLYING}:
        asked = lifecycle.cancel(run, NOW, cool_off=MINUTE)
        assert (asked.status, asked.is_current) == (status, True)
        assert (asked.canceled_at, asked.force_cancel_available_at) == (NOW, NOW + MINUTE)
        again = lifecycle.cancel(asked, NOW + MINUTE, cool_off=MINUTE)
        assert again.canceled_at == NOW
    elif status in {S.PENDING, S.PLAN_QUEUED, S.CONFIRMED, S.APPLY_QUEUED}:
        ended = lifecycle.cancel(run, NOW, cool_off=MINUTE)
        assert (ended.status, ended.canceled_at, ended.is_current) == (S.CANCELED, NOW, False)
    else:
        with pytest.raises(Conflict):
            lifecycle.cancel(run, NOW, cool_off=MINUTE)


@pytest.mark.parametrize("status", [S.PLANNING, S.APPLYING])
def test_force_cancel_waits_for_the_cool_off(status: Status) -> None:
    with pytest.raises(Conflict):
        lifecycle.force_cancel(a_run(status), NOW)
    asked = lifecycle.cancel(a_run(status), NOW, cool_off=MINUTE)
    with pytest.raises(Conflict):
        lifecycle.force_cancel(asked, NOW + MINUTE - timedelta(microseconds=1))
    ended = lifecycle.force_cancel(asked, NOW + MINUTE)
    assert ended.status is S.CANCELED
    assert ended.status_timestamps["force-canceled-at"] == NOW + MINUTE
    with pytest.raises(Conflict):
        lifecycle.force_cancel(ended, NOW + MINUTE)


@given(st.sampled_from(sorted({S.PLANNING, S.APPLYING} ^ set(Status), key=str)))
def test_force_cancel_is_for_running_ones_only(status: Status) -> None:
    run = a_run(status, force_cancel_available_at=NOW)
    with pytest.raises(Conflict):
        lifecycle.force_cancel(run, NOW + MINUTE)


@pytest.mark.parametrize("to", sorted(ENDED))
def test_an_ended_phase_gives_up_its_lease_and_closes_its_log(to: PhaseStatus) -> None:
    held = a_phase(status="running", lease_until=NOW + MINUTE, listener_id="listener-1")
    ended = lifecycle.phase_moved(held, to, NOW)
    assert (ended.ended, ended.held, ended.log_complete) == (True, False, True)
    assert list(ended.status_timestamps.values()) == [NOW]


def test_a_queued_phase_is_nobodys_and_applies_come_first() -> None:
    held = a_phase(
        status="running",
        lease_until=NOW,
        start_confirmed=True,
        claim_key="key",
        fence=3,
        claims=2,
    )
    plan = lifecycle.phase_queued(held, a_run(), NOW)
    assert (plan.status, plan.held, plan.start_confirmed, plan.claim_key) == (
        "queued",
        False,
        False,
        None,
    )
    assert (plan.fence, plan.claims, plan.pool_id) == (3, 2, "apool-1")
    apply = lifecycle.phase_queued(a_phase(kind="apply"), a_run(), NOW)
    speculative = lifecycle.phase_queued(a_phase(), a_run(plan_only=True), NOW)
    ranks = [phase.rank or NOW for phase in (apply, plan, speculative)]
    assert ranks == sorted(set(ranks))


@given(st.sampled_from(Status), st.sampled_from([None, -1, 0, 1]))
def test_an_end_is_shown_in_time_and_nothing_else_is_ever_hidden(
    status: Status, minutes: int | None
) -> None:
    before = status if status not in FINAL else S.APPLYING
    run = a_run(before, shown_at=None if minutes is None else NOW + minutes * MINUTE)
    if status in MOVES[before]:
        run = lifecycle.moved(run, status, NOW, reason="it says why")
    shown = lifecycle.shown(run, NOW)
    if run.final and minutes == 1:
        assert (shown.status, shown.final, shown.reason) == (S.APPLYING, False, "")
        assert NOW not in shown.status_timestamps.values()
        assert lifecycle.shown(run, NOW + MINUTE) == run
    else:
        assert shown == run


@given(
    st.sampled_from(sorted(ENDED)),
    st.sampled_from(["plan", "apply"]),
    st.sampled_from([None, NOW + MINUTE]),
)
def test_only_the_end_of_an_apply_is_shown_later(
    status: PhaseStatus, kind: Any, at: datetime | None
) -> None:
    ended = lifecycle.phase_moved(a_phase(kind=kind, shown_at=at), status, NOW)
    shown = lifecycle.phase_shown(ended, NOW)
    assert shown.status == ("running" if at and kind == "apply" else status)
    assert lifecycle.phase_shown(ended, NOW + MINUTE) == ended


def test_a_phase_that_is_given_up_knows_its_fence_until_it_is_queued_again() -> None:
    held = a_phase(status="running", fence=3, log_base=10, log_size=25)
    lost = lifecycle.given_up(held)
    assert (lost.lost_fence, lost.late_from) == (3, 15)
    # Who took the agent's name over has raised the fence, and kept the one before.
    taken = lifecycle.given_up(msgspec.structs.replace(held, fence=4, lost_fence=3))
    assert (taken.lost_fence, taken.fence) == (3, 4)
    assert lifecycle.phase_queued(lost, a_run(), NOW).lost_fence is None
