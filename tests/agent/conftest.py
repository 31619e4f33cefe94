"""What the agent's tests share: a server on loopback and a terraform that follows a script."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.agent_server import AgentServer
from tests.kit.agents import AgentProcess, quick, serving


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[AgentServer]:
    (tmp_path / "server").mkdir()
    async with serving(AgentServer(tmp_path / "server")) as server:
        yield server


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "agent"


@pytest.fixture
async def process(server: AgentServer, data: Path) -> AsyncIterator[AgentProcess]:
    """An agent that can be killed."""
    process = AgentProcess(quick(data, server))
    yield process
    process.close()
