"""What all tests share: one control plane a worker, empty at the start of every test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from terrapod_control_plane.kernel.postgres.embedded import Embedded
from tests.kit import control as kit
from tests.kit import not_run
from tests.kit.control import Control


def pytest_addoption(parser: pytest.Parser) -> None:
    """The chaos suite takes minutes, so its long part has to be asked for."""
    group = parser.getgroup("chaos")
    group.addoption("--chaos", action="store_true", help="the long part of tests/chaos too")
    group.addoption("--seed", type=int, default=None, help="what the storm begins with")
    group.addoption("--minutes", type=float, default=10.0, help="how long the storm lasts")
    group.addoption("--claims", type=int, default=100_000, help="how many claims are simulated")


def pytest_configure(config: pytest.Config) -> None:
    """The marks that all tests may have."""
    config.addinivalue_line("markers", not_run.NEEDS)


@pytest.hookimpl(tryfirst=True)  # before any fixture
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What cannot run here is not tried."""
    if names := not_run.lacking(item):
        pytest.skip(f"needs {' and '.join(names)}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A test that did not run is a failure where every one has to."""
    if not session.exitstatus and not_run.is_failure(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what did not run."""
    not_run.tell(terminalreporter)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("control")


@pytest.fixture(scope="session")
def dsn(data_dir: Path) -> Iterator[str]:
    server = Embedded(data_dir / "postgres")
    try:
        yield server.start()
    finally:
        server.erase()


@pytest.fixture(scope="session")
async def serving(data_dir: Path, dsn: str) -> AsyncIterator[Control]:
    async with kit.served(kit.settings(data_dir), dsn) as serving:
        yield serving


@pytest.fixture
async def control(serving: Control) -> AsyncIterator[Control]:
    await serving.clean()
    async with kit.clients_of(serving) as fresh:
        yield fresh
