"""The server, its database or the agent is started again and again, without a pause."""

import random
import threading
import time
from collections.abc import Callable

import pytest

from tests.chaos.blows import strike
from tests.chaos.conftest import Tell
from tests.chaos.history import FINAL, faults
from tests.chaos.world import World
from tests.kit import processes

pytestmark = pytest.mark.timeout(400)

_ROUNDS = 6
_KILLS = 20


def repeatedly(deed: Callable[[], None], over: threading.Event, pause: float) -> None:
    for _ in range(_ROUNDS):
        if over.wait(pause):
            return
        deed()


@pytest.mark.parametrize(
    ("victim", "pause"),
    [("server", 1.0), ("agent", 1.5), ("agent", 4.0), ("database", 4.0)],
)
def test_restarts_in_a_loop(world: World, victim: str, pause: float) -> None:
    pool = world.pool(f"{victim}-{pause:g}")
    place = world.agent(pool, pool)
    workspaces = [world.workspace(pool) for _ in range(2)]
    runs = [world.run(workspace, ["a", "b"], lines=20) for workspace in workspaces]
    over = threading.Event()
    loop = threading.Thread(
        target=repeatedly, args=(lambda: strike(world, place, victim), over, pause)
    )
    loop.start()
    try:
        world.settle(runs, 240)
    finally:
        over.set()
        loop.join(60)
    again = [world.run(workspace, ["b", "c"]) for workspace in workspaces]
    world.settle(again, 120)
    assert faults(world.history(workspaces)) == []
    assert {world.look(run)["status"] for run in again} == {"applied"}


def test_a_killed_server_never_starts_paused_and_loses_nothing(world: World, tell: Tell) -> None:
    """A marker is written after the commit that it proves, so no moment makes a false one."""
    seed = random.randrange(2**32)
    tell(f"seed {seed}")
    dice = random.Random(seed)
    pool = world.pool("killed-often")
    place = world.agent(pool, pool)
    workspaces = [world.workspace(pool) for _ in range(2)]
    runs: list[str] = []
    for number in range(_KILLS):
        workspace = workspaces[number % 2]
        runs.append(world.run(workspace, [f"k{number % 3}", f"k{(number + 1) % 3}"], lines=10))
        time.sleep(dice.uniform(0, 2.5))
        world.blow("server")
        world.server.kill()
        if number % 4 == 3:
            processes.database(world.server.data).kill()
        world.server.start()
        recovery = world.api("GET", "admin/recovery")["attributes"]
        assert (recovery["paused"], recovery["epoch"], recovery["findings"]) == (False, 0, [])
    world.settle(runs, 240)
    assert faults(world.history(workspaces)) == []
    assert {world.look(run)["status"] for run in runs} <= FINAL
    assert place.up
