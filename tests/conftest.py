"""What all tests share."""

import pytest

from tests.kit import not_run


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
