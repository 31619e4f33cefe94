"""The long part of the suite runs when it is asked for; worlds for both parts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.world import World


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes minutes."""
    if config.getoption("--chaos"):
        return
    here = Path(__file__).parent
    long = [i for i in items if here in i.path.parents and not i.get_closest_marker("short")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server with nothing in it."""
    world = World(tmp_path_factory.mktemp("world"))
    try:
        world.open()
        yield world
    finally:
        world.close()
