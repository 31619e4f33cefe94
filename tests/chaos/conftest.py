"""The long part of the suite runs when it is asked for; worlds for both parts."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from terrapod_control_plane.kernel.postgres.embedded import Embedded
from tests.chaos.world import World
from tests.kit import control as kit
from tests.kit.control import Control


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes minutes."""
    if config.getoption("--chaos"):
        return
    here = Path(__file__).parent
    long = [i for i in items if here in i.path.parents and not i.get_closest_marker("short")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


Tell = Callable[[str], None]
_TOLD = pytest.StashKey[list[str]]()


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Something to be read at the end of the session."""
    told = request.config.stash.setdefault(_TOLD, [])
    return lambda text: told.append(f"{request.node.name}: {text}")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Seeds, and what there was."""
    for text in config.stash.get(_TOLD, []):
        terminalreporter.write_line(text)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server with nothing in it."""
    world = World(tmp_path_factory.mktemp("world"))
    try:
        world.open()
        yield world
    finally:
        world.close()


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    """A control plane in this process, empty."""
    database = Embedded(tmp_path / "postgres")
    try:
        async with (
            kit.served(kit.settings(tmp_path), database.start()) as serving,
            kit.clients_of(serving) as control,
        ):
            yield control
    finally:
        database.erase()
