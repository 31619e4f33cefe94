"""The memory of a workspace reaches the agent that carries out its phases."""

import pytest

from tests.kit import factories
from tests.kit.control import Agent, Client

pytestmark = pytest.mark.anyio


async def test_the_memory_of_a_workspace_is_a_limit_of_its_phases(
    api: Client, listener: Agent, workspace: str
) -> None:
    body = {"data": {"type": "workspaces", "attributes": {"resource-memory": "2Gi"}}}
    changed = await api.call("PATCH", f"/api/v2/workspaces/{workspace}", json=body)
    assert changed.status_code == 200, changed.text
    await factories.run(api, workspace)
    work = await listener.claim("k")
    assert work is not None
    assert work["limits"]["memory_bytes"] == 2 * 2**30
