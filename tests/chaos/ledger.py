"""What agents were told, and what may never have been told."""

from collections import defaultdict
from typing import Any

from terrapod_common import wire

_ENDS = frozenset({"planned", "applied", "errored", "canceled"})


class Ledger:
    """Kept outside of the service. A breach of a rule fails at once, or at :meth:`check`."""

    def __init__(self) -> None:
        self.runs: set[str] = set()
        self.held: set[str] = set()  # runs that have put their workspace on hold
        self.deadlocks = 0
        self.phases: list[dict[str, Any]] = []  # the rows at the end
        self._fences: dict[str, int] = defaultdict(int)  # phase -> the newest that was handed out
        self._askers: dict[tuple[str, int], tuple[str, str]] = {}
        self._starts: dict[str, set[int]] = defaultdict(set)  # phase -> confirmed fences
        self._ends: dict[str, set[int]] = defaultdict(set)
        self._run: dict[str, str] = {}

    @property
    def handed_out(self) -> int:
        """How many claims there were, repeated answers not counted."""
        return len(self._askers)

    def claimed(self, work: wire.Work, listener: str, key: str) -> None:
        """A phase was handed out."""
        asker = self._askers.setdefault((work.phase_id, work.fence), (listener, key))
        assert asker == (listener, key), f"{work.phase_id} has two holders under {work.fence}"
        if work.kind == "apply":
            others = self._starts[work.phase_id] - {work.fence}
            assert not others, f"{work.phase_id} was handed out after its start was confirmed"
        self._fences[work.phase_id] = max(self._fences[work.phase_id], work.fence)
        self._run[work.phase_id] = work.run_id

    def is_stale(self, work: wire.Work) -> bool:
        """Whether somebody else has been given the phase since."""
        return work.fence < self._fences[work.phase_id]

    def reported(self, work: wire.Work, status: str, *, stale: bool) -> None:
        """A report was taken; ``stale`` is whether it was so when it was sent."""
        assert not stale, f"a report for {work.phase_id} under the old {work.fence} was taken"
        told = self._ends if status in _ENDS else self._starts
        told[work.phase_id].add(work.fence)
        assert len(self._ends[work.phase_id]) <= 1, f"{work.phase_id} has ended twice"

    def check(self) -> None:
        """What can be said when all is over."""
        assert self.deadlocks == 0, f"{self.deadlocks} deadlocks"
        for phase in self.phases:
            id_, fences = phase["id"], self._starts[phase["id"]]
            if phase["kind"] == "plan" or not fences:
                continue
            assert len(fences) == 1, f"{id_} was started under {sorted(fences)}"
            assert self._fences[id_] == max(fences), f"{id_} was handed out after its start"
            if not self._ends[id_]:
                assert phase["run_id"] in self.held, f"{id_} was lost without a hold"
