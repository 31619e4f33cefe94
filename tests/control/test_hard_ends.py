"""Applies that did not end by themselves: nothing follows them before a person has looked."""

from typing import Any

import pytest

from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio

KILLED = "terraform was killed by signal 9"


async def applying(api: Client, agent: Agent, workspace: str) -> tuple[str, dict[str, Any]]:
    run = await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(agent, f"plan {run}")
    return run, await factories.starts_apply(agent, f"apply {run}")


async def attributes(api: Client, path: str) -> Any:
    return (await api.get(f"/api/v2/{path}"))["data"]["attributes"]


@pytest.mark.parametrize("status", ["errored", "canceled", "applied"])
@pytest.mark.parametrize("state", ["", "final=true"])
async def test_a_hard_end_puts_the_workspace_on_hold_whatever_was_reported(
    control: Control, api: Client, listener: Agent, workspace: str, status: str, state: str
) -> None:
    run, work = await applying(api, listener, workspace)
    waiting = await factories.run(api, workspace, **{"auto-apply": True})
    if status == "canceled":
        await api.post(f"/api/v2/runs/{run}/actions/cancel")
    if state:
        await listener.send(work, "state", factories.state(4), state)
    ended = await listener.report(work, status, hard=True, message=KILLED)
    assert ended.status_code == 200, ended.text
    assert await control.status(run) == status
    hold = (await attributes(api, f"workspaces/{workspace}"))["hold"]
    assert hold["run"] == run
    assert hold["reason"].startswith(f"{run}: {KILLED}")
    known = "its newest state, serial 4, is here: look at it, then clear or adopt"
    assert (known if state else "no state of it has arrived") in hold["reason"]
    # The next one is planned, and nothing of it is applied.
    await factories.plans(listener, "next")
    assert await control.status(waiting) == "planned"
    assert await listener.claim("none", "apply") is None
    assert KILLED in (await attributes(api, f"runs/{waiting}"))["waiting-on"]
    if state:
        await api.post(f"/api/v2/workspaces/{workspace}/actions/adopt-state")
        assert (await attributes(api, f"workspaces/{workspace}"))["hold"] is None
        assert await control.status(waiting) == "discarded"


async def test_a_canceled_apply_that_wrote_its_state_keeps_it_and_holds_nothing(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run, work = await applying(api, listener, workspace)
    await api.post(f"/api/v2/runs/{run}/actions/cancel")
    await listener.send(work, "state", factories.state(4), "final=true")
    assert (await listener.report(work, "canceled")).status_code == 200
    assert await control.status(run) == "canceled"
    assert (await attributes(api, f"workspaces/{workspace}"))["hold"] is None
    current = await attributes(api, f"workspaces/{workspace}/current-state-version")
    assert current["serial"] == 4


async def test_an_apply_that_failed_by_itself_holds_nothing(
    api: Client, listener: Agent, workspace: str
) -> None:
    _, work = await applying(api, listener, workspace)
    await listener.send(work, "state", factories.state(4), "final=true")
    assert (await listener.report(work, "errored", message="no")).status_code == 200
    assert (await attributes(api, f"workspaces/{workspace}"))["hold"] is None


async def test_a_hard_end_of_a_plan_or_before_the_start_holds_nothing(
    api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    assert (await listener.report(work, "errored", hard=True)).status_code == 200
    await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener, "second")
    unstarted = await listener.claim("apply", "apply")
    assert unstarted is not None
    assert (await listener.report(unstarted, "errored", hard=True)).status_code == 200
    assert (await attributes(api, f"workspaces/{workspace}"))["hold"] is None


async def test_a_state_that_could_not_be_sent_says_why_and_the_hold_when_it_comes(
    api: Client, listener: Agent, workspace: str
) -> None:
    _, work = await applying(api, listener, workspace)
    said = {"state_uploaded": False, "state_trouble": "terraform was cut off writing it"}
    assert (await listener.report(work, "errored", **said)).status_code == 200
    hold = (await attributes(api, f"workspaces/{workspace}"))["hold"]
    assert "has not arrived: terraform was cut off writing it" in hold["reason"]
    late = await listener.send(work, "recovered-state", factories.state(9))
    assert late.status_code == 200, late.text
    told = (await attributes(api, f"workspaces/{workspace}"))["hold"]
    assert "the state that it reached, serial 9, is here: adopt it" in told["reason"]
    assert told["since"] == hold["since"]
    await api.post(f"/api/v2/workspaces/{workspace}/actions/adopt-state")
    current = await attributes(api, f"workspaces/{workspace}/current-state-version")
    assert current["serial"] == 9


async def test_each_end_and_each_hold_has_a_line_in_the_log(
    control: Control,
    api: Client,
    listener: Agent,
    workspace: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, work = await applying(api, listener, workspace)
    await listener.report(work, "errored", hard=True, message=KILLED)
    await api.post(f"/api/v2/workspaces/{workspace}/actions/clear-hold")
    lost, _ = await applying(api, listener, workspace)
    control.clock.move(121)
    await control.sweep()
    said = capsys.readouterr()
    lines = (said.out + said.err).splitlines()

    def count(what: str, *parts: str) -> int:
        return sum(what in line and all(part in line for part in parts) for line in lines)

    assert count("a workspace is on hold", run, workspace, KILLED) == 1
    assert count("a run has ended", run, workspace, "errored") == 1
    assert count("a hold has ended", run, workspace, "cleared") == 1
    assert count("a lease has ended", lost, workspace, listener.id) == 1
    assert count("a run has ended", lost, "lost during apply") == 1
    assert "Traceback" not in said.out + said.err
