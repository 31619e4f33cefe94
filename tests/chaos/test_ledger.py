"""The ledger of simulated claims finds each fault that is planted."""

from collections.abc import Callable

import pytest

from terrapod_common import wire
from tests.chaos.ledger import Ledger

pytestmark = pytest.mark.short


def work(kind: wire.PhaseKind = "apply", fence: int = 1) -> wire.Work:
    return wire.Work(
        run_id="run-1",
        phase_id=f"{kind}-1",
        kind=kind,
        fence=fence,
        lease_seconds=30,
        organization="default",
        workspace_id="ws-1",
        workspace="w",
        working_directory="",
        tool=wire.Tool(name="terraform", version="1.9.0"),
        flags=wire.Flags(),
        limits=wire.Limits(),
    )


def two_holders(ledger: Ledger) -> None:
    ledger.claimed(work(), "one", "k")
    ledger.claimed(work(), "two", "k")


def two_questions(ledger: Ledger) -> None:
    ledger.claimed(work(), "one", "k")
    ledger.claimed(work(), "one", "another")


def again_after_a_start(ledger: Ledger) -> None:
    ledger.claimed(work(), "one", "k")
    ledger.reported(work(), "applying", stale=False)
    ledger.claimed(work(fence=2), "two", "k")


def stale_report(ledger: Ledger) -> None:
    ledger.claimed(work("plan"), "one", "k")
    ledger.claimed(work("plan", 2), "two", "k")
    ledger.reported(work("plan"), "planned", stale=ledger.is_stale(work("plan")))


def two_ends(ledger: Ledger) -> None:
    ledger.reported(work("plan"), "planned", stale=False)
    ledger.reported(work("plan", 2), "errored", stale=False)


def two_starts(ledger: Ledger) -> None:
    ledger.reported(work(), "applying", stale=False)
    ledger.reported(work(fence=2), "applying", stale=False)
    ledger.phases = [{"id": "apply-1", "kind": "apply", "run_id": "run-1"}]
    ledger.check()


def no_hold(ledger: Ledger) -> None:
    ledger.claimed(work(), "one", "k")
    ledger.reported(work(), "applying", stale=False)
    ledger.phases = [{"id": "apply-1", "kind": "apply", "run_id": "run-1"}]
    ledger.check()


def deadlock(ledger: Ledger) -> None:
    ledger.deadlocks = 1
    ledger.check()


PLANTED: list[tuple[str, Callable[[Ledger], None]]] = [
    ("two holders", two_holders),
    ("two holders", two_questions),
    ("after its start was confirmed", again_after_a_start),
    ("was taken", stale_report),
    ("has ended twice", two_ends),
    ("was started under", two_starts),
    ("lost without a hold", no_hold),
    ("deadlocks", deadlock),
]


@pytest.mark.parametrize(("expected", "plant"), PLANTED)
def test_a_planted_fault_is_found(expected: str, plant: Callable[[Ledger], None]) -> None:
    with pytest.raises(AssertionError, match=expected):
        plant(Ledger())


def test_what_is_right_is_no_fault() -> None:
    ledger = Ledger()
    ledger.claimed(work("plan"), "one", "k")
    ledger.claimed(work("plan"), "one", "k")  # its answer was lost
    ledger.claimed(work("plan", 2), "two", "j")
    ledger.reported(work("plan", 2), "planning", stale=False)
    ledger.reported(work("plan", 2), "planned", stale=False)
    ledger.claimed(work(), "one", "l")
    ledger.reported(work(), "applying", stale=False)
    ledger.held.add("run-1")
    ledger.phases = [{"id": "apply-1", "kind": "apply", "run_id": "run-1"}]
    ledger.check()
    assert ledger.handed_out == 3
