"""A run that is not over says what it waits for, whatever the circumstances."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from terrapod_control_plane.kernel.context import PoolSeen
from terrapod_control_plane.runs.model import FINAL, Run, Status
from terrapod_control_plane.runs.wait_reason import Facts, why

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EARLIER = NOW - timedelta(seconds=90)
POOL = PoolSeen(name="main", slots=2, last_seen=NOW)
AWAY = PoolSeen(name="main", slots=0, last_seen=EARLIER)
EMPTY = PoolSeen(name="main", slots=0, last_seen=None)

FACTS = st.builds(
    Facts,
    now=st.just(NOW),
    locked_by=st.sampled_from([None, "ann"]),
    locked_at=st.sampled_from([None, EARLIER]),
    lock_reason=st.sampled_from(["", "mine"]),
    pool=st.sampled_from([None, POOL, AWAY, EMPTY]),
    ahead=st.integers(0, 3),
    busy=st.integers(0, 3),
    agent=st.sampled_from([None, "one"]),
    log_at=st.sampled_from([None, EARLIER]),
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
    return why(run, facts or Facts(now=NOW))


@given(st.sampled_from(Status), FACTS, st.sampled_from([None, "apool-1"]))
def test_exactly_those_that_are_not_over_say_why(
    status: Status, facts: Facts, pool: str | None
) -> None:
    assert bool(asked(status, facts, pool_id=pool)) == (status not in FINAL)


@pytest.mark.parametrize(
    ("status", "facts", "changes", "said"),
    [
        (Status.PENDING, {"current_run": "run-2"}, {}, "waits behind run-2"),
        (
            Status.PENDING,
            {"locked_by": "ann", "locked_at": EARLIER, "lock_reason": "mine"},
            {},
            "is locked by ann since 2026-01-02 03:02:35 UTC: mine",
        ),
        (Status.PENDING, {"locked_by": "ann"}, {}, "no reason was given"),
        (Status.PLAN_QUEUED, {}, {}, "a free agent of the pool apool-1"),
        (Status.PLAN_QUEUED, {}, {"pool_id": None}, "no agent pool"),
        (Status.PLAN_QUEUED, {"pool": POOL}, {}, "waits for an agent of the pool main to take it"),
        (Status.PLAN_QUEUED, {"pool": POOL, "busy": 2, "ahead": 3}, {}, "are busy, 3 ahead of it"),
        (Status.PLAN_QUEUED, {"pool": POOL, "ahead": 100}, {}, ", 100 or more ahead of it"),
        (Status.PLAN_QUEUED, {"pool": AWAY}, {}, "the last was seen at 2026-01-02 03:02:35 UTC"),
        (Status.APPLY_QUEUED, {"pool": EMPTY}, {}, "none was ever seen"),
        (
            Status.APPLY_QUEUED,
            {"pool": replace(POOL, roots=("/b", "/c")), "root": "/a", "busy": 2},
            {},
            "takes work has its runs in /a, where the plan was made (they have them in /b, /c)",
        ),
        (
            Status.APPLY_QUEUED,
            {"pool": replace(POOL, roots=("/b",), trouble="one takes no work"), "root": "/a"},
            {},
            "(they have them in /b); the agent one takes no work",
        ),
        (
            Status.APPLY_QUEUED,
            {"pool": replace(POOL, roots=("/b", "")), "root": "/a"},
            {},
            "waits for an agent of the pool main to take it",
        ),
        (Status.APPLY_QUEUED, {"agent": "one"}, {}, "the agent one has taken it"),
        (Status.PLANNING, {}, {}, "an agent is at it and has not logged"),
        (Status.PLANNING, {"agent": "one", "log_at": EARLIER}, {}, "last log 90 s ago"),
        (
            Status.APPLYING,
            {"agent": "one"},
            {"canceled_at": NOW},
            "waits for the agent one to stop",
        ),
        (Status.PLANNED, {}, {}, "waits for a person"),
        (Status.PLANNED, {"hold_reason": "lost"}, {}, "on hold: lost"),
        (Status.CONFIRMED, {"hold_reason": "lost", "locked_by": "ann"}, {}, "on hold: lost"),
        (Status.CONFIRMED, {"locked_by": "ann"}, {}, "locked by ann"),
        (Status.PENDING, {"paused": "restored"}, {}, "the server is paused: restored; it goes on"),
        (Status.APPLYING, {"paused": "restored"}, {}, "the server is paused: restored"),
    ],
)
def test_what_is_said(
    status: Status, facts: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    assert said in (asked(status, Facts(now=NOW, **facts), **changes) or "")
