"""Networks that are slow, narrow, cut or silent while an apply goes on."""

import threading
import time

import pytest

from tests.chaos.blows import at_step
from tests.chaos.history import FINAL, faults
from tests.chaos.world import Place, World
from tests.kit.proxy import BOTH, Direction, Weather

pytestmark = pytest.mark.timeout(240)

_BRIEF, _LONG = 1.0, 7.0  # less than a lease of three seconds, more than two
_KEYS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def place(world: World) -> Place:
    """An agent that has fetched terraform already."""
    world.pool_id = world.pool("networks")
    place = world.agent("networks", world.pool_id)
    first = world.run(world.workspace(world.pool_id), ["first"])
    world.settle([first])
    assert world.look(first)["status"] == "applied"
    return place


@pytest.fixture(autouse=True)
def _good_again(place: Place) -> None:
    place.network.heal()


def begun(world: World, place: Place, lines: int) -> tuple[str, str]:
    """A workspace and its run, in the middle of its apply."""
    workspace = world.workspace(world.pool_id)
    run = world.run(workspace, _KEYS, lines=lines)
    assert at_step(place, run, "apply", "main", lambda: world.look(run)["status"] in FINAL)
    return workspace, run


def ended(world: World, workspace: str, run: str) -> str:
    """How the run ended; the next one has to go well, and nothing may be wrong with either."""
    world.settle([run], 90)
    after = world.run(workspace, [*_KEYS, "d"])
    world.settle([after], 90)
    assert faults(world.history([workspace])) == []
    assert world.look(after)["status"] == "applied"
    status: str = world.look(run)["status"]
    return status


@pytest.mark.parametrize(
    "weather", [Weather(delay=0.4), Weather(rate=20_000)], ids=["slow", "narrow"]
)
def test_a_poor_network_takes_time_and_nothing_else(
    world: World, place: Place, weather: Weather
) -> None:
    place.network.weather(weather)
    workspace = world.workspace(world.pool_id)
    assert ended(world, workspace, world.run(workspace, _KEYS)) == "applied"


@pytest.mark.parametrize("silent", [BOTH, ("up",), ("down",)], ids=["both", "up", "down"])
def test_a_silence_shorter_than_a_lease_is_not_noticed(
    world: World, place: Place, silent: tuple[Direction, ...]
) -> None:
    workspace, run = begun(world, place, 30)
    place.network.weather(Weather(silent=silent))
    time.sleep(_BRIEF)
    place.network.heal()
    assert ended(world, workspace, run) == "applied"


def test_a_cut_shorter_than_a_lease_is_not_noticed(world: World, place: Place) -> None:
    workspace, run = begun(world, place, 30)
    place.network.cut()
    time.sleep(_BRIEF)
    place.network.heal()
    assert ended(world, workspace, run) == "applied"


@pytest.mark.parametrize("how", ["cut", "both", "up", "down"])
def test_an_agent_that_is_away_for_long_has_lost_its_apply(
    world: World, place: Place, how: str
) -> None:
    workspace, run = begun(world, place, 60)
    world.blow(how, lasts=_LONG)
    if how == "cut":
        place.network.cut()
    else:
        place.network.weather(Weather(silent=BOTH if how == "both" else (_way(how),)))
    time.sleep(_LONG)
    place.network.heal()
    # What passes one way only may be the beats: then nothing is lost.
    expected = {"errored"} if how in ("cut", "both", "up") else {"errored", "applied"}
    assert ended(world, workspace, run) in expected


def _way(how: str) -> Direction:
    return "up" if how == "up" else "down"


def test_a_network_that_is_cut_again_and_again(world: World, place: Place) -> None:
    over = threading.Event()

    def flap() -> None:
        while not over.wait(0.7):
            place.network.cut()
            over.wait(0.2)
            place.network.heal()

    flapping = threading.Thread(target=flap)
    flapping.start()
    try:
        workspace = world.workspace(world.pool_id)
        run = world.run(workspace, _KEYS, lines=20)
        world.settle([run], 120)
    finally:
        over.set()
        flapping.join()
        place.network.heal()
    assert ended(world, workspace, run) == "applied"
