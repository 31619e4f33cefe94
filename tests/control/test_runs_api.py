import pytest

from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio


async def test_a_run_is_planned_confirmed_and_applied(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace, message="hello")
    assert await control.status(run) == "plan_queued"
    await factories.plans(listener)
    assert await control.status(run) == "planned"
    answer = await api.call("POST", f"/api/v2/runs/{run}/actions/apply", content=b"{}")
    assert answer.status_code == 202
    assert await control.status(run) == "apply_queued"
    await factories.applies(listener)
    assert await control.status(run) == "applied"
