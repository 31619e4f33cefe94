"""What all tests share."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """The chaos suite takes minutes, so its long part has to be asked for."""
    group = parser.getgroup("chaos")
    group.addoption("--chaos", action="store_true", help="the long part of tests/chaos too")
    group.addoption("--seed", type=int, default=None, help="what the storm begins with")
    group.addoption("--minutes", type=float, default=10.0, help="how long the storm lasts")
    group.addoption("--claims", type=int, default=100_000, help="how many claims are simulated")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
