"""What the agent holds right now, and how the loops tell each other about it."""

import time
from collections.abc import Callable
from typing import Literal

import anyio

from terrapod_common import wire

# `cancel` and `force_cancel` are orders of the server, `lost` is its word that the phase is no
# longer ours, `timeout` the phase's own limit; `interrupt` and `kill` come from our signals.
StopReason = Literal["cancel", "force_cancel", "lost", "timeout", "interrupt", "kill"]
FORCED: frozenset[StopReason] = frozenset({"force_cancel", "kill"})


class Notifier:
    """Wakes everyone who waits; may notify any number of times."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def notify(self) -> None:
        """Wake who waits now."""
        self._event.set()
        self._event = anyio.Event()

    def next_event(self) -> anyio.Event:
        """Set by the next notification. Take it before looking, so that nothing falls between."""
        return self._event


class ActivePhase:
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
        self.program_running = False  # a program runs: it is to be stopped, not the work around it
        self.stop_reasons: list[StopReason] = []
        self.stop_requested = Notifier()
        self.updated = Notifier()  # the server has said something of it
        self.ask_server: Callable[[], None] = lambda: None  # have the server asked at once
        self._lease_ends = 0.0

    def extend_lease(self, seconds: float, asked_at: float) -> None:
        """The lease runs from before the question was sent, so we never think it longer."""
        self._lease_ends = max(self._lease_ends, asked_at + seconds)
        self.updated.notify()

    def lease_left(self) -> float:
        """Seconds for which the phase is surely ours."""
        return self._lease_ends - time.monotonic()

    def request_stop(self, reason: StopReason) -> None:
        """Ask whoever runs the phase to end it; the same reason counts once."""
        self.lost = self.lost or reason == "lost"
        if reason not in self.stop_reasons:
            self.stop_reasons.append(reason)
            self.stop_requested.notify()
            self.updated.notify()

    def stop_reason(self) -> StopReason | None:
        """The first reason that ends this phase; an apply outlives the loss of its lease."""
        reasons = (
            reason
            for reason in self.stop_reasons
            if not (reason == "lost" and self.kind == "apply")
        )
        return next(reasons, None)


class Slots:
    """All phases of this agent and whether it takes more."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.active_phases: list[ActivePhase] = []
        self.draining = False  # we are about to end
        self.paused = False  # the server wants nothing new to be taken
        self.blocked_by = ""  # why we cannot take anything new
        self.started_applies: list[wire.HeldPhase] | None = (
            None  # by agents before us, until the server knows
        )
        self.dropped_phases: list[
            wire.HeldPhase
        ] = []  # the server does not know yet that nobody runs them
        self.damaged: list[str] = []  # folders of phases which only a person can read
        self.idle_since = time.monotonic()
        self.orders_seen = wire.orders_fingerprint(
            []
        )  # which orders the server had given when it was last asked
        self.changed = Notifier()
        self.heartbeat_answered = Notifier()  # a heartbeat was answered
        # One poll is enough for all free slots: whose turn it is asks, the others stand in line.
        self.poll_lock = anyio.Lock()

    def add(self, active: ActivePhase) -> None:
        """A phase has become ours."""
        active.ask_server = self.changed.notify
        self.active_phases.append(active)
        self.changed.notify()

    def remove(self, active: ActivePhase) -> None:
        """A phase is over and delivered."""
        self.active_phases.remove(active)
        self.idle_since = time.monotonic()
        self.changed.notify()

    def drain(self) -> None:
        """Finish what runs, take nothing new."""
        self.draining = True
        self.changed.notify()

    def pause(self, paused: bool) -> None:  # noqa: FBT001 - the server's word as it came
        """Take nothing new while the server wants that."""
        if paused != self.paused:
            self.paused = paused
            self.changed.notify()

    def block(self, trouble: str) -> None:
        """Whether something keeps us from taking anything new, in words for an operator."""
        if trouble != self.blocked_by:
            self.blocked_by = trouble
            self.changed.notify()

    @property
    def accepts_work(self) -> bool:
        """Whether a free slot may ask for work."""
        return not (self.draining or self.paused or self.blocked_by)

    def drop_phase(self, holding: wire.HeldPhase) -> None:
        """What an agent before us held is run by nobody any more."""
        self.dropped_phases.append(holding)
        self.changed.notify()

    def request_stop_all(self, reason: StopReason) -> None:
        """Ask every phase to end."""
        for active in list(self.active_phases):
            active.request_stop(reason)

    def held_phases(self) -> list[wire.HeldPhase]:
        """What a heartbeat says we run."""
        return [
            wire.HeldPhase(phase_id=h.phase_id, fence=h.fence, claim=h.claim)
            for h in self.active_phases
        ]

    def apply_orders(self, orders: list[wire.Order]) -> None:
        """Pass on all of the server's orders; one for another fence is not for us."""
        self.orders_seen = wire.orders_fingerprint(orders)
        self._obey(orders)

    def _obey(self, orders: list[wire.Order]) -> None:
        for order in orders:
            for active in self.active_phases:
                if (active.phase_id, active.fence) == (order.phase_id, order.fence):
                    active.request_stop(order.kind)

    def apply_heartbeat(
        self, sent: list[wire.HeldPhase], answer: wire.HeartbeatAnswer, asked_at: float
    ) -> None:
        """Take over what a heartbeat brought about the phases that were named in it."""
        named = {(holding.phase_id, holding.fence) for holding in sent}
        for active in self.active_phases:
            if (active.phase_id, active.fence) not in named:
                continue
            if active.phase_id in answer.lost:
                active.request_stop("lost")
            elif seconds := answer.leases.get(active.phase_id):
                active.extend_lease(seconds, asked_at)
        self._obey(answer.orders)
        self.pause(answer.drain)
        self.heartbeat_answered.notify()
