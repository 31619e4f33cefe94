"""Whom a blow can hit, and how one is given at a step of a phase."""

import contextlib
import time
from collections.abc import Callable

import psutil

from tests.chaos.world import Place, World, seen
from tests.kit import processes

# The steps of a phase, as the agent names them; nothing of terraform runs in those before `init`.
STEPS = {
    "plan": ("claimed", "preparing", "init", "main", "show", "delivering"),
    "apply": ("claimed", "preparing", "init", "main", "delivering"),
}
WITH_TERRAFORM = ("init", "main", "show")
EVERYWHERE = ("agent", "agent away", "server", "database")
ON_TERRAFORM = ("shim", "terraform", "shim and terraform")
CASES = [
    (victim, kind, step)
    for kind, steps in STEPS.items()
    for step in steps
    for victim in (*EVERYWHERE, *(ON_TERRAFORM if step in WITH_TERRAFORM else ()))
]
_DATABASE = 20.0
_AWAY = 6.0  # twice a lease of the suite


def strike(world: World, place: Place, victim: str, run: str = "", away: float = _AWAY) -> bool:
    """Hit the victim; what an operator or a supervisor starts again is started again.

    ``run`` is the run whose apply is ended hard when terraform is hit. False when the victim had
    ended by itself before.
    """
    match victim:
        case "agent":
            world.blow(victim)
            place.agent.kill()
            place.agent.start()
        case "agent away":
            world.blow(victim, lasts=away)
            place.agent.kill()
            time.sleep(away)
            place.agent.start()
        case "server":
            world.blow(victim)
            world.server.kill()
            world.server.start()
        case "database":
            world.blow(victim)
            processes.database(world.server.data).kill()
            _started_again(world)
        case _:
            found = _hit(place, victim)
            alive = _stopped(found)
            world.blow(victim, run=run if alive else "")
            _kill(found)
            return alive
    return True


def _started_again(world: World) -> None:
    """The server sees to its database itself; one that does not is started anew, for the others."""
    if not world.answers(_DATABASE):
        world.server.kill()
        world.server.start()
        raise AssertionError(f"the database was not started again within {_DATABASE:.0f} s")


def _hit(place: Place, victim: str) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    if "shim" in victim:
        found += processes.shims(place.pid)
    if "terraform" in victim:
        found += processes.terraforms(place.pid)
    return found


def _stopped(found: list[psutil.Process]) -> bool:
    """Stop them, else one might still hear of the end of another; whether all of them lived."""
    alive = 0
    for one in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.suspend()
            alive += one.status() != psutil.STATUS_ZOMBIE
    return 0 < alive == len(found)


def _kill(found: list[psutil.Process]) -> None:
    for one in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


def at_step(place: Place, run: str, kind: str, step: str, failed: Callable[[], bool]) -> bool:
    """Wait for a step of a phase; false when the run went past it unseen."""
    late = False

    def there() -> bool:
        nonlocal late
        now = place.step(run)
        late = now is None and failed()
        if now != (kind, step):
            return late
        # The step begins before its program has started.
        return step not in WITH_TERRAFORM or bool(processes.terraforms(place.pid)) or late

    seen(there, f"{kind} {step} of {run}", 60)
    return not late
