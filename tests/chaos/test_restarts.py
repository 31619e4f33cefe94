"""The server, its database or the agent is started again and again, without a pause."""

import threading
from collections.abc import Callable

import pytest

from tests.chaos.blows import strike
from tests.chaos.history import faults
from tests.chaos.world import World

pytestmark = pytest.mark.timeout(400)

_ROUNDS = 6


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
