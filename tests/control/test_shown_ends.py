"""The end of an apply is shown when who follows the plan's log knows that there is an apply."""

from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import system
from terrapod_control_plane.runs import lifecycle
from terrapod_control_plane.runs import queries as runs_queries
from terrapod_control_plane.runs.viewers import internal as viewers
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio


class Reader:
    """Does what terraform's command line does: follows the log of a plan, then asks for the run."""

    def __init__(self, api: Client, run: str) -> None:
        self.api = api
        self.run = run
        self._offset = 0

    async def reads(self, kind: str = "plan") -> str:
        """The next cut of a log."""
        shown = (await self.api.get(f"/api/v2/runs/{self.run}/{kind}"))["data"]["attributes"]
        offset = self._offset if kind == "plan" else 0
        cut = await self.api.call("GET", f"{shown['log-read-url']}?limit=65536&offset={offset}")
        self._offset += len(cut.content) if kind == "plan" else 0
        return cut.text

    async def asks(self) -> str:
        """The status of the run, as it is shown."""
        status: str = (await self.api.get(f"/api/v2/runs/{self.run}"))["data"]["attributes"][
            "status"
        ]
        return status

    async def lists(self, status: str = "") -> list[str]:
        """The statuses in the list of the workspace's runs."""
        id_ = await db.value("select workspace_id from runs where id = $1", self.run)
        query = f"?filter[status]={status}" if status else ""
        found = await self.api.get(f"/api/v2/workspaces/{id_}/runs{query}")
        return [run["attributes"]["status"] for run in found["data"]]


async def failed_at_once(api: Client, agent: Agent, workspace: str) -> Reader:
    """A reader who has not seen the end of the plan when the apply has failed already."""
    run = await factories.run(api, workspace, **{"auto-apply": True})
    work = await factories.starts_plan(agent)
    await agent.send(work, "log", b"planning\n", "offset=0")
    reader = Reader(api, run)
    assert await reader.reads() == "\x02planning\n"
    await factories.ends_plan(agent, work)
    apply = await factories.starts_apply(agent)
    await agent.send(apply, "log", b"broken\n", "offset=0")
    ended = await agent.report(apply, "errored", message="exit status 3")
    # The agent is answered at once, with what is.
    assert (ended.status_code, ended.json()["status"]) == (200, "errored")
    return reader


async def test_the_end_is_shown_to_who_follows_after_they_asked(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    reader = await failed_at_once(api, listener, workspace)
    assert await control.status(reader.run) == "errored"
    assert await reader.asks() == "applying"
    assert await reader.lists() == ["applying"]
    assert (await reader.lists("applying"), await reader.lists("errored")) == (["applying"], [])
    shown = (await api.get(f"/api/v2/runs/{reader.run}/apply"))["data"]["attributes"]
    assert (shown["status"], "errored-at" in shown["status-timestamps"]) == ("running", False)
    run = (await api.get(f"/api/v2/runs/{reader.run}"))["data"]["attributes"]
    assert (run["reason"], "errored-at" in run["status-timestamps"]) == (None, False)
    assert (await reader.reads()).endswith("\x03")
    assert await reader.asks() == "applying"  # this is the question that counts
    assert await reader.reads("apply") == "\x02broken\n\x03"
    assert await reader.asks() == "errored"
    assert await reader.lists("errored") == ["errored"]
    shown = (await api.get(f"/api/v2/runs/{reader.run}/apply"))["data"]["attributes"]
    assert shown["status"] == "errored"


async def test_a_second_after_the_question_it_is_shown_without_the_log(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    reader = await failed_at_once(api, listener, workspace)
    await reader.reads()
    assert await reader.asks() == "applying"
    control.clock.move(1.1)
    assert await reader.asks() == "errored"


@pytest.mark.parametrize(("saw_the_end", "seconds"), [(True, 3), (False, 10)])
async def test_it_is_shown_in_time_to_everybody_whatever_the_reader_does(
    control: Control,
    api: Client,
    listener: Agent,
    workspace: str,
    *,
    saw_the_end: bool,
    seconds: float,
) -> None:
    reader = await failed_at_once(api, listener, workspace)
    if saw_the_end:
        await reader.reads()
    control.clock.move(seconds - 0.5)
    assert await reader.lists() == ["applying"]
    control.clock.move(1)
    assert await reader.lists() == ["errored"]


async def test_who_saw_the_end_of_the_plan_before_that_of_the_apply_is_waited_for_too(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    reader = Reader(api, run)
    assert (await reader.reads()).endswith("\x03")
    apply = await factories.starts_apply(listener)
    await listener.report(apply, "errored")
    assert await reader.asks() == "applying"
    control.clock.move(1.1)
    assert await reader.asks() == "errored"


async def over_between_two_questions(api: Client, agent: Agent, workspace: str, end: str) -> Reader:
    """A reader who had asked for the run, once, before all of it was over."""
    run = await factories.run(api, workspace, **{"auto-apply": True})
    reader = Reader(api, run)
    assert await reader.asks() == "plan_queued"
    await factories.plans(agent)
    apply = await factories.starts_apply(agent)
    await agent.send(apply, "log", b"broken\n", "offset=0")
    await agent.report(apply, end)
    return reader


async def test_who_asked_before_all_of_it_was_over_sees_that_there_was_an_apply(
    api: Client, listener: Agent, workspace: str
) -> None:
    reader = await over_between_two_questions(api, listener, workspace, "errored")
    assert await reader.asks() == "applying"
    assert (await reader.reads()).endswith("\x03")
    assert await reader.asks() == "applying"
    assert await reader.reads("apply") == "\x02broken\n\x03"
    assert await reader.asks() == "errored"


async def test_who_only_asks_sees_an_error_soon_and_a_success_at_once(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    reader = await over_between_two_questions(api, listener, workspace, "errored")
    assert await reader.asks() == "applying"
    control.clock.move(1)
    assert await reader.asks() == "applying"
    control.clock.move(1.1)
    assert await reader.asks() == "errored"
    reader = await over_between_two_questions(api, listener, workspace, "applied")
    assert await reader.asks() == "applied"


async def test_nobody_waits_where_nobody_reads(
    api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    reader = Reader(api, run)
    await reader.reads()
    assert await reader.asks() == "apply_queued"  # knows of the apply from here on
    apply = await factories.starts_apply(listener)
    await listener.report(apply, "errored")
    assert await reader.asks() == "errored"


async def test_neither_queue_nor_hold_wait_for_it(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    behind: list[str] = []
    run = await factories.run(api, workspace, **{"auto-apply": True})
    behind.append(await factories.run(api, workspace))
    work = await factories.starts_plan(listener)
    await listener.send(work, "log", b"planning\n", "offset=0")
    reader = Reader(api, run)
    await reader.reads()
    await factories.ends_plan(listener, work)
    apply = await factories.starts_apply(listener)
    await listener.report(apply, "errored", hard=True, message="killed")
    assert await reader.asks() == "applying"
    assert await control.status(behind[0]) == "plan_queued"
    hold: Any = (await api.get(f"/api/v2/workspaces/{workspace}"))["data"]["attributes"]["hold"]
    assert hold["run"] == run


async def test_with_waits_of_zero_it_is_shown_at_once(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    reader = await failed_at_once(api, listener, workspace)
    settings = control.services.settings
    none = replace(settings.runs, show_end_after_seconds=0, show_end_at_most_seconds=0)
    ctx = system(replace(control.services, settings=replace(settings, runs=none)))
    run = await runs_queries.get(reader.run)
    assert run is not None
    followed = await viewers.hidden(ctx, replace(run, shown_at=None))
    assert lifecycle.shown(followed, ctx.now()).status.value == "errored"


@pytest.mark.parametrize("end", [False, True])
async def test_who_takes_longer_than_the_end_is_held_back_is_not_forgotten(
    control: Control, api: Client, listener: Agent, workspace: str, *, end: bool
) -> None:
    run = await factories.run(api, workspace, **{"auto-apply": True})
    work = await factories.plans(listener)
    settings = control.services.settings
    brief = replace(settings.runs, show_end_after_seconds=0.01, show_end_at_most_seconds=0.01)
    ctx = system(replace(control.services, settings=replace(settings, runs=brief)))
    plan, found = await runs_queries.phase(work["phase_id"]), await runs_queries.get(run)
    assert plan is not None
    assert found is not None
    await viewers.reads(ctx, plan, end=end)
    await anyio.sleep(0.05)
    before = ctx.now()
    shown_at = (await viewers.hidden(ctx, found)).shown_at
    assert shown_at is not None
    assert shown_at > before


async def test_who_reads_the_log_of_the_apply_sees_its_end_at_once(
    api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace, **{"auto-apply": True})
    reader = Reader(api, run)
    work = await factories.starts_plan(listener)
    await listener.send(work, "log", b"planning\n", "offset=0")
    await reader.reads()
    assert await reader.asks() == "planning"
    await factories.ends_plan(listener, work)
    apply = await factories.starts_apply(listener)
    await listener.send(apply, "log", b"working\n", "offset=0")
    assert "working" in await reader.reads("apply")
    assert (await listener.report(apply, "errored", message="exit status 3")).status_code == 200
    assert await reader.asks() == "errored"
