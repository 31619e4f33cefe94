"""A run that is not over says what it waits for, whatever the circumstances."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from terrapod_control_plane.runs.model import FINAL, Run, Status
from terrapod_control_plane.runs.why import Facts, why

FACTS = st.builds(
    Facts,
    locked=st.booleans(),
    lock_reason=st.sampled_from(["", "mine"]),
    hold_reason=st.sampled_from(["", "lost"]),
    current_run=st.sampled_from([None, "run-1", "run-2"]),
)


class Like(Struct):
    """The part of a run that the answer depends on."""

    status: Status
    id: str = "run-1"
    pool_id: str | None = "apool-1"
    canceled_at: datetime | None = None

    @property
    def final(self) -> bool:
        return self.status in FINAL


def asked(status: Status, facts: Facts | None = None, **changes: Any) -> str | None:
    run: Run = Like(status, **changes)  # type: ignore[assignment]  # duck-typed
    return why(run, facts or Facts())


@given(st.sampled_from(Status), FACTS, st.sampled_from([None, "apool-1"]))
def test_exactly_those_that_are_not_over_say_why(
    status: Status, facts: Facts, pool: str | None
) -> None:
    assert bool(asked(status, facts, pool_id=pool)) == (status not in FINAL)


@pytest.mark.parametrize(
    ("status", "facts", "changes", "said"),
    [
        (Status.PENDING, Facts(current_run="run-2"), {}, "waits behind run-2"),
        (Status.PENDING, Facts(locked=True, lock_reason="mine"), {}, "is locked: mine"),
        (Status.PENDING, Facts(locked=True), {}, "no reason was given"),
        (Status.PLAN_QUEUED, Facts(), {}, "a free agent of the pool apool-1"),
        (Status.PLAN_QUEUED, Facts(), {"pool_id": None}, "no agent pool"),
        (Status.PLANNING, Facts(), {}, "an agent is at it"),
        (Status.APPLYING, Facts(), {"canceled_at": datetime.now(UTC)}, "being canceled"),
        (Status.PLANNED, Facts(), {}, "waits for a person"),
        (Status.CONFIRMED, Facts(hold_reason="lost", locked=True), {}, "on hold: lost"),
        (Status.CONFIRMED, Facts(locked=True), {}, "locked"),
    ],
)
def test_what_is_said(status: Status, facts: Facts, changes: dict[str, Any], said: str) -> None:
    assert said in (asked(status, facts, **changes) or "")
