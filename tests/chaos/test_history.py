"""The checker of chaos finds each fault that is planted in a history where all went right."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from tests.chaos.history import Blow, History, Hold, Seen, faults
from tests.kit.counter import Count

pytestmark = pytest.mark.short


def log(*keys: str, lines: int = 3) -> str:
    said = [f"counted (local-exec): line {key} {n}\n" for key in keys for n in range(1, lines + 1)]
    return f"\x02{''.join(said)}\x03"


def good() -> History:
    """Two runs of one workspace; between them the apply of a third was lost."""
    first = Seen(
        id="run-1", workspace="w", status="applied", began=10, ended=13, keys=["a", "b"],
        apply_log=log("a", "b"),
    )  # fmt: skip
    lost = Seen(
        id="run-2", workspace="w", status="errored", reason="lost", began=20, ended=25,
        keys=["a", "b", "c", "d"], apply_log=log("c", lines=2),
    )  # fmt: skip
    last = Seen(
        id="run-3", workspace="w", status="applied", began=40, ended=43, keys=["b", "c"],
        apply_log=log("c"),
    )  # fmt: skip
    return History(
        lines=3,
        runs=[first, lost, last],
        counts=[
            Count(11, "create", "run-1", "w", "a"),
            Count(12, "create", "run-1", "w", "b"),
            Count(21, "create", "run-2", "w", "c"),
            Count(41, "destroy", "run-3", "w", "a"),
            Count(42, "create", "run-3", "w", "c"),
        ],
        blows=[Blow(at=22, what="agent", run="run-2")],
        holds=[Hold(workspace="w", run="run-2", since=25, until=30, reason="lost")],
        states={"w": ["b", "c"]},
    )


def change(history: History, number: int, **changes: object) -> None:
    history.runs[number] = replace(history.runs[number], **changes)


PLANTED: dict[str, tuple[str, Callable[[History], object]]] = {
    "endless": (
        "does not say what it waits for",
        lambda h: change(h, 2, status="applying"),
    ),
    "no reason": ("does not say why", lambda h: change(h, 1, reason="")),
    "twice in a run": (
        "made c of w twice",
        lambda h: h.counts.append(Count(42.5, "create", "run-3", "w", "c")),
    ),
    "twice by two runs": (
        "with no hold in between",
        lambda h: h.counts.append(Count(42.5, "create", "run-3", "w", "b")),
    ),
    "again before the hold": (
        "with no hold in between",
        lambda h: h.holds.__setitem__(0, replace(h.holds[0], since=43, until=44)),
    ),
    "a run that nobody knows": (
        "nobody knows of that run",
        lambda h: h.counts.append(Count(44, "destroy", "run-9", "w", "c")),
    ),
    "an apply that never began": (
        "its apply never began",
        lambda h: change(h, 2, began=None),
    ),
    "more than was approved": (
        "not in its configuration",
        lambda h: change(h, 0, keys=["a"]),
    ),
    "a state that lost something": (
        "b of w is not in the state",
        lambda h: h.states.update(w=["c"]),
    ),
    "a state that went back": (
        "a of w is in the state, and was not made",
        lambda h: h.states.update(w=["a", "b", "c"]),
    ),
    "something of nowhere in the state": (
        "z of w is in the state",
        lambda h: h.states.update(w=["b", "c", "z"]),
    ),
    "a log without an end": ("is not whole", lambda h: change(h, 0, plan_log="\x02text")),
    "a log twice": (
        "twice or out of order",
        lambda h: change(h, 0, apply_log=f"\x02{log('a', 'b') * 2}\x03"),
    ),
    "a gap in a log": (
        "lacks lines of a in the middle",
        lambda h: change(h, 0, apply_log=log("a", "b").replace("line a 2", "")),
    ),
    "a log that lost its last lines": (
        "lacks the last lines of b",
        lambda h: change(h, 0, apply_log=log("a", "b").replace("line b 3", "")),
    ),
    "a hold without a cause": ("nothing had happened to it", lambda h: h.blows.clear()),
    "a hold whose cause came later": (
        "nothing had happened to it",
        lambda h: h.blows.__setitem__(0, Blow(at=35, what="agent")),
    ),
    "a hold that stands": (
        "is still on hold",
        lambda h: h.holds.__setitem__(0, replace(h.holds[0], until=None)),
    ),
    "a hold for a plan": (
        "is on hold for run-9",
        lambda h: h.holds.append(Hold(workspace="w", run="run-9", since=25, until=26)),
    ),
    "no hold": ("without a hold", lambda h: h.holds.clear()),
}


def test_a_history_where_all_went_right_has_no_fault() -> None:
    assert faults(good()) == []


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str) -> None:
    expected, plant = PLANTED[name]
    history = good()
    plant(history)
    found = faults(history)
    assert any(expected in fault for fault in found), found


def test_what_an_interrupted_run_left_tainted_is_no_fault() -> None:
    history = good()
    history.counts.append(Count(42.5, "create", "run-3", "w", "b"))
    error = 'Error: local-exec provisioner error\n\n  with terraform_data.counted["b"],\n'
    change(history, 0, apply_log=f"{log('a', 'b')[:-1]}{error}Output: line b 1\nline b 2\n\x03")
    change(history, 2, apply_log=log("c", "b"))
    assert faults(history) == []
    history.counts.append(Count(40.5, "create", "run-3", "w", "a"))
    assert any("a of w was made by run-1 and again" in fault for fault in faults(history))


def test_what_a_held_run_left_unknown_is_no_fault() -> None:
    history = good()
    history.counts.append(Count(22, "create", "run-2", "w", "d"))
    assert faults(history) == []


def test_a_waiting_run_that_says_why_is_no_fault() -> None:
    history = good()
    history.runs.append(Seen(id="run-4", workspace="w", status="pending", waiting_on="run-3"))
    assert faults(history) == []
