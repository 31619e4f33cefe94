"""Everything at once: ten workspaces, three agents, and blows in no order for some minutes."""

import random
import re
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.chaos.blows import strike
from tests.chaos.conftest import Tell
from tests.chaos.history import FINAL, History, faults
from tests.chaos.world import Place, World
from tests.kit.proxy import BOTH, Weather

WORKSPACES, AGENTS = 10, 3
_ID = re.compile(r"\b(run|listener)-\w+")
_AT_LEAST = 3  # blows, however slow the machine is
_VICTIMS = ("agent", "agent away", "server", "database", "shim", "terraform", "shim and terraform")
_WEATHERS = (
    Weather(delay=0.2),
    Weather(rate=50_000),
    Weather(silent=BOTH),
    Weather(silent=("up",)),
    Weather(silent=("down",)),
    Weather(refused=True),
)


@pytest.mark.timeout(7200)
def test_a_storm(world: World, request: pytest.FixtureRequest, tell: Tell) -> None:
    storm(world, _seed(request), 60 * request.config.getoption("--minutes"), tell)


@pytest.mark.short
@pytest.mark.timeout(240)
def test_a_gust(world: World, tell: Tell) -> None:
    storm(world, 1, 6, tell, victims=("agent", "server"), workspaces=3)


def _seed(request: pytest.FixtureRequest) -> int:
    given = request.config.getoption("--seed")
    return random.randrange(2**32) if given is None else int(given)


def storm(
    world: World,
    seed: int,
    seconds: float,
    tell: Tell,
    victims: tuple[str, ...] = _VICTIMS,
    workspaces: int = WORKSPACES,
) -> None:
    """Blow for so long, then let everything come to rest, and look."""
    dice = random.Random(seed)
    tell(f"seed {seed}, {seconds:.0f} s")
    pool = world.pool(f"storm-{seed}")
    places = [world.agent(f"storm-{seed}-{n}", pool, slots=2) for n in range(AGENTS)]
    names = [world.workspace(pool) for _ in range(workspaces)]
    runs: dict[str, list[str]] = {name: [] for name in names}
    done: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end or done.total() < _AT_LEAST:
        for name in names:
            if not runs[name] or world.look(runs[name][-1])["status"] in FINAL:
                runs[name].append(world.run(name, keys_of(dice)))
        world.person()
        time.sleep(dice.uniform(0.5, 2))
        done[blow(world, dice, places, victims)] += 1
    for place in places:
        place.network.heal()
        if not place.up:
            place.agent.start()
    made = [run for of_one in runs.values() for run in of_one]
    world.settle(made, 300)
    history = world.history(names)
    tell(table(history, done))
    assert faults(history) == []
    last = [world.run(name, ["last"]) for name in names]
    world.settle(last, 240)
    assert {world.look(run)["status"] for run in last} == {"applied"}
    assert faults(world.history(names)) == []


def keys_of(dice: random.Random) -> list[str]:
    """What the next configuration of a workspace has."""
    return sorted(dice.sample("abcdefgh", dice.randint(1, 4)))


def blow(world: World, dice: random.Random, places: list[Place], victims: tuple[str, ...]) -> str:
    """Do one thing to somebody; what it was."""
    place = dice.choice(places)
    deeds: dict[str, Callable[[], None]] = {
        victim: lambda victim=victim: _strike(world, place, victim)  # type: ignore[misc]
        for victim in victims
    }
    if "shim" in victims:
        deeds["weather"] = lambda: _weather(world, dice, place)
    name = dice.choice(sorted(deeds))
    deeds[name]()
    return name


def _strike(world: World, place: Place, victim: str) -> None:
    if place.up:
        strike(world, place, victim, away=4.0)


def _weather(world: World, dice: random.Random, place: Place) -> None:
    seconds = dice.uniform(0.5, 6)
    world.blow("weather", lasts=seconds)
    place.network.weather(dice.choice(_WEATHERS))
    time.sleep(seconds)
    place.network.heal()


def table(history: History, done: Counter[str]) -> str:
    """What there was, in a few lines."""
    ends = Counter(run.status for run in history.runs)
    deeds: Counter[str] = Counter(count.deed for count in history.counts)
    reasons = (_ID.sub("...", hold.reason) for hold in history.holds)
    holds: Counter[str] = Counter(reasons)
    rows = {"blows": done, "runs": ends, "counted": deeds, "holds": holds}
    lines = ["", "| what | how many |", "| --- | --- |"]
    for name, counted in rows.items():
        told = ", ".join(f"{number} {what}" for what, number in sorted(counted.items()))
        lines.append(f"| {name} | {told} |")
    return "\n".join(lines)
