"""The agent plane of both servers, and an agent on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit import factories
from tests.kit.agent_planes import DoublePlane, Plane, PlaneAgent, RealPlane
from tests.kit.agent_server import AgentServer
from tests.kit.control import Control


@pytest.fixture(params=["control plane", "test server"])
async def plane(
    request: pytest.FixtureRequest, control: Control, tmp_path: Path
) -> AsyncIterator[Plane]:
    if request.param == "control plane":
        api = await control.client((await control.token("admin", "admin"))[1])
        yield RealPlane(control, api, await factories.pool(api))
        return
    server = AgentServer(tmp_path)
    async with server.up():
        yield DoublePlane(server)


@pytest.fixture
async def agent(plane: Plane, tmp_path: Path) -> AsyncIterator[PlaneAgent]:
    agent = await PlaneAgent.joined(plane, tmp_path / "agent", await plane.token())
    yield agent
    await agent.client.close()
