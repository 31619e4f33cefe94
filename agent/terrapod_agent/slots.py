"""What the agent holds right now, and how the loops tell each other about it."""

import time
from collections.abc import Callable
from typing import Literal

import anyio

from terrapod_common import wire

# `cancel` and `force_cancel` are orders of the server, `lost` is its word that the phase is no
# longer ours, `timeout` the phase's own limit; `interrupt` and `kill` come from our signals.
Wish = Literal["cancel", "force_cancel", "lost", "timeout", "interrupt", "kill"]
HARD: frozenset[Wish] = frozenset({"force_cancel", "kill"})


class Signal:
    """Wakes everyone who waits; may be given any number of times."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def give(self) -> None:
        """Wake who waits now."""
        self._event.set()
        self._event = anyio.Event()

    def next(self) -> anyio.Event:
        """What the next giving sets. Take it before looking, so that nothing falls between."""
        return self._event


class Hold:
    """One phase of this agent, from its claim until its outcome is delivered."""

    def __init__(self, run_id: str, phase_id: str, fence: int, kind: wire.PhaseKind) -> None:
        self.run_id = run_id
        self.phase_id = phase_id
        self.fence = fence
        self.kind = kind
        self.claim = ""  # the server's signature on it
        self.workspace = ""
        self.step = "claimed"
        self.since = time.time()
        self.lost = False
        self.busy = False  # a program runs: it is to be stopped, not the work around it
        self.wishes: list[Wish] = []
        self.wished = Signal()
        self.told = Signal()  # the server has said something of it
        self.ask: Callable[[], None] = lambda: None  # have the server asked at once
        self._lease_ends = 0.0

    def leased(self, seconds: float, asked_at: float) -> None:
        """The lease runs from before the question was sent, so we never think it longer."""
        self._lease_ends = max(self._lease_ends, asked_at + seconds)
        self.told.give()

    def lease_left(self) -> float:
        """Seconds for which the phase is surely ours."""
        return self._lease_ends - time.monotonic()

    def wish(self, wish: Wish) -> None:
        """Ask whoever runs the phase to end it; the same wish counts once."""
        self.lost = self.lost or wish == "lost"
        if wish not in self.wishes:
            self.wishes.append(wish)
            self.wished.give()
            self.told.give()

    def stopping(self) -> Wish | None:
        """The first wish that ends this phase; an apply outlives the loss of its lease."""
        wishes = (wish for wish in self.wishes if not (wish == "lost" and self.kind == "apply"))
        return next(wishes, None)


class Slots:
    """All holds of this agent and whether it takes more."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.holds: list[Hold] = []
        self.draining = False  # we are about to end
        self.paused = False  # the server wants nothing new to be taken
        self.trouble = ""  # why we cannot take anything new
        self.kept: list[wire.Holding] | None = None  # by agents before us, until the server knows
        self.dropped: list[wire.Holding] = []  # the server does not know yet that nobody runs them
        self.damaged: list[str] = []  # folders of phases which only a person can read
        self.idle_since = time.monotonic()
        self.seen = wire.seen([])  # which orders the server had given when it was last asked
        self.changed = Signal()
        self.told = Signal()  # a beat was answered
        # One poll is enough for all free slots: whose turn it is asks, the others stand in line.
        self.turn = anyio.Lock()

    def add(self, hold: Hold) -> None:
        """A phase has become ours."""
        hold.ask = self.changed.give
        self.holds.append(hold)
        self.changed.give()

    def remove(self, hold: Hold) -> None:
        """A phase is over and delivered."""
        self.holds.remove(hold)
        self.idle_since = time.monotonic()
        self.changed.give()

    def drain(self) -> None:
        """Finish what runs, take nothing new."""
        self.draining = True
        self.changed.give()

    def pause(self, paused: bool) -> None:  # noqa: FBT001 - the server's word as it came
        """Follow the server's wish that nothing new is taken."""
        if paused != self.paused:
            self.paused = paused
            self.changed.give()

    def hindered(self, trouble: str) -> None:
        """Whether something keeps us from taking anything new, in words for an operator."""
        if trouble != self.trouble:
            self.trouble = trouble
            self.changed.give()

    @property
    def takes(self) -> bool:
        """Whether a free slot may ask for work."""
        return not (self.draining or self.paused or self.trouble)

    def drop(self, holding: wire.Holding) -> None:
        """What an agent before us held is run by nobody any more."""
        self.dropped.append(holding)
        self.changed.give()

    def wish_all(self, wish: Wish) -> None:
        """Pass a wish to every phase."""
        for hold in list(self.holds):
            hold.wish(wish)

    def holding(self) -> list[wire.Holding]:
        """What a beat says we run."""
        return [wire.Holding(phase_id=h.phase_id, fence=h.fence, claim=h.claim) for h in self.holds]

    def ordered(self, orders: list[wire.Order]) -> None:
        """Pass on all of the server's orders; one for another fence is not for us."""
        self.seen = wire.seen(orders)
        self._obey(orders)

    def _obey(self, orders: list[wire.Order]) -> None:
        for order in orders:
            for hold in self.holds:
                if (hold.phase_id, hold.fence) == (order.phase_id, order.fence):
                    hold.wish(order.kind)

    def beaten(self, sent: list[wire.Holding], answer: wire.BeatAnswer, asked_at: float) -> None:
        """Take over what a beat brought about the holds that were named in it."""
        named = {(holding.phase_id, holding.fence) for holding in sent}
        for hold in self.holds:
            if (hold.phase_id, hold.fence) not in named:
                continue
            if hold.phase_id in answer.lost:
                hold.wish("lost")
            elif seconds := answer.leases.get(hold.phase_id):
                hold.leased(seconds, asked_at)
        self._obey(answer.orders)
        self.pause(answer.drain)
        self.told.give()
