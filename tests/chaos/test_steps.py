"""Everybody is killed once at every step of a phase."""

from functools import partial

import pytest

from tests.chaos.blows import CASES, at_step, strike
from tests.chaos.history import FINAL, faults
from tests.chaos.world import World
from tests.kit.proxy import Weather

pytestmark = pytest.mark.timeout(240)

_TRIES = 5
_SLOW = Weather(delay=0.05)  # so that no step passes unseen
_SHORT = {
    ("agent", "plan", "main"),
    ("agent away", "apply", "main"),
    ("server", "apply", "delivering"),
}


def _case(victim: str, kind: str, step: str) -> object:
    marks = [pytest.mark.short] if (victim, kind, step) in _SHORT else []
    return pytest.param(victim, kind, step, marks=marks, id=f"{victim}-{kind}-{step}")


@pytest.fixture(scope="module")
def pool(world: World) -> str:
    pool = world.pool("steps")
    world.agent("steps", pool).network.weather(_SLOW)
    return pool


@pytest.mark.parametrize(("victim", "kind", "step"), [_case(*case) for case in CASES])
def test_a_kill(world: World, pool: str, victim: str, kind: str, step: str) -> None:
    place = world.places["steps"]
    for _ in range(_TRIES):
        workspace = world.workspace(pool)
        run = world.run(workspace, ["a", "b"], lines=30)
        hard = (kind, step) == ("apply", "main")
        # Who passed unseen, or had ended before it was hit, is tried once more.
        seen = at_step(place, run, kind, step, partial(over, world, run))
        struck = seen and strike(world, place, victim, run if hard else "")
        world.settle([run], 90)
        if struck:
            break
    else:
        pytest.fail(f"the step was missed {_TRIES} times")
    after = world.run(workspace, ["b", "c"])
    world.settle([after], 90)
    assert faults(world.history([workspace])) == []
    assert world.look(after)["status"] == "applied", world.look(after)["reason"]
    assert world.look(run)["status"] in _ends(victim, kind, step), world.look(run)["reason"]


def over(world: World, run: str) -> bool:
    """Whether nothing more will happen to a run."""
    return world.look(run)["status"] in FINAL


def _ends(victim: str, kind: str, step: str) -> set[str]:
    """What the run may come to: whoever is not part of what terraform does takes nothing away."""
    if victim in ("server", "database") or (kind == "plan" and victim.startswith("agent")):
        return {"applied"}
    if victim.startswith("agent") and step in ("claimed", "preparing"):
        return {"applied"}
    if "terraform" in victim:
        return {"errored"}  # it lived when it was hit, so it did not end by itself
    return {"applied", "errored"}
