"""What an agent may still say of an apply that was given up, and all that this must not touch."""

from typing import Any

import pytest
import structlog

from terrapod_control_plane.kernel import db, epochs
from terrapod_control_plane.kernel.context import system
from terrapod_control_plane.runs.logs import internal as logs
from terrapod_control_plane.runs.logs import queries as logs_queries
from terrapod_control_plane.runs.phases.leases import internal as leases
from tests.kit import factories
from tests.kit.control import Agent, Client, Control
from tests.kit.lost import LATER, MARK, applying, hold, late, log_of, lost, rows

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ({"began": False}, "terraform had not begun, nothing was applied; clear the hold"),
        (
            {"ended": "terraform had ended with exit code 1"},
            "terraform had ended with exit code 1 and had written nothing: clear the hold",
        ),
        (
            {"ended": "terraform was killed by signal 9", "hard": True},
            "was killed by signal 9 and had written no state: look at what it may have made",
        ),
        (
            {"state": "kept", "state_trouble": "terraform was cut off writing it"},
            "its last state is kept on the agent's machine: terraform was cut off writing it",
        ),
    ],
)
async def test_the_hold_says_what_is_known(
    control: Control,
    api: Client,
    listener: Agent,
    workspace: str,
    said: dict[str, Any],
    known: str,
) -> None:
    work = await lost(control, api, listener, workspace)
    before, since = await rows(), (await hold(api, workspace))["since"]
    taken = await late(listener, work, **said)
    assert taken.status_code == 200, taken.text
    told = await hold(api, workspace)
    assert known in told["reason"]
    assert "lost during apply" in told["reason"]
    assert (told["since"], taken.json()["hold"]) == (since, told["reason"])
    assert await rows() == before
    assert known in await log_of(api, work["run_id"])
    # It has no state and will bring none.
    refused = await api.call("POST", f"/api/v2/workspaces/{workspace}/actions/adopt-state")
    assert refused.status_code == 409
    assert "its agent has said all that it knows" in refused.text


async def test_a_state_that_came_late_is_named_and_adopted(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    work = await lost(control, api, listener, workspace)
    assert (await listener.send(work, "recovered-state", factories.state(7))).status_code == 200
    said = {"ended": "terraform had ended with exit code 0", "state": "handed_in"}
    assert (await late(listener, work, **said)).status_code == 200
    known = "its agent came back: terraform had ended with exit code 0 and wrote serial 7"
    assert known in (await hold(api, workspace))["reason"]
    await api.post(f"/api/v2/workspaces/{workspace}/actions/adopt-state")
    assert await hold(api, workspace) is None


async def test_a_state_that_somebody_pushed_during_the_hold_is_replaced_only_when_asked(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    work = await lost(control, api, listener, workspace)
    assert (await listener.send(work, "recovered-state", factories.state(9))).status_code == 200
    control.clock.move(5)
    await factories.pushes(api, workspace, 7)
    path = f"/api/v2/workspaces/{workspace}"
    refused = await api.call("POST", f"{path}/actions/adopt-state")
    assert refused.status_code == 409
    assert "Serial 7 was stored while the workspace was on hold" in refused.text
    assert await hold(api, workspace) is not None
    await api.post(f"{path}/actions/adopt-state?replace=true")
    assert await hold(api, workspace) is None
    current = await api.get(f"{path}/current-state-version")
    assert current["data"]["attributes"]["serial"] == 9


@pytest.mark.parametrize("archived", [False, True])
async def test_the_rest_of_the_log_comes_marked_once_and_at_its_offset(
    control: Control, api: Client, listener: Agent, workspace: str, *, archived: bool
) -> None:
    work = await lost(control, api, listener, workspace)
    before = await log_of(api, work["run_id"])
    assert before.endswith("\x03")
    if archived:
        await logs.archive(system(control.services))
    here = await listener.send(work, "late-log", b"", "offset=0")
    assert here.json() == {"offset": 7}
    for offset, sent, there in ((0, b"begins\n", 7), (7, b"goes on\n", 15), (7, b"goes on\n", 15)):
        answer = await listener.send(work, "late-log", sent, f"offset={offset}")
        assert answer.json() == {"offset": there}
    if archived:
        await logs.archive(system(control.services))
    else:
        assert await db.value("select count(*) from log_chunks") > 2
    assert (await listener.send(work, "late-log", b"and ends\n", "offset=15")).is_success
    assert (await late(listener, work)).status_code == 200
    after = await log_of(api, work["run_id"])
    assert after.startswith(before[:-1])
    assert after[len(before) - 1 :].startswith(f"\r\n{MARK}\r\ngoes on\nand ends\n")
    assert (after.count(MARK), after.count("goes on"), after[-1]) == (1, 1, "\x03")
    # Every cut of it is right, across the border between archive and rows too.
    url = (await api.get(f"/api/v2/runs/{work['run_id']}/apply"))["data"]["attributes"]
    for offset in (0, 3, len(before) - 4, len(before) + 10):
        cut = await api.call("GET", f"{url['log-read-url']}?offset={offset}&limit=20")
        assert cut.text == after[offset : offset + 20]
    # Nothing comes after the last word.
    answer = await listener.send(work, "late-log", b"more", "offset=24")
    assert answer.status_code == 409
    answer = await listener.send(work, "late-log", b"", "offset=0")
    assert answer.json() == {"offset": 24}
    assert await log_of(api, work["run_id"]) == after


async def test_an_archive_made_meanwhile_keeps_what_came_late(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    work = await lost(control, api, listener, workspace)
    seen = await logs_queries.to_archive()
    await listener.send(work, "late-log", b"goes on\n", "offset=7")
    found = next(phase for phase in seen if phase.id == work["phase_id"])
    index: list[tuple[int, int, int]] = []
    ctx = system(control.services)
    await ctx.services.blobs.put(logs._key(found), logs._compressed(ctx, found, index))
    await logs_queries.archived(found.id, index, found.log_size)
    whole = await log_of(api, work["run_id"])
    assert whole.startswith("\x02begins\n")
    assert f"{MARK}\r\ngoes on\n" in whole


async def test_it_is_taken_once_and_its_answer_may_be_lost(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    work = await lost(control, api, listener, workspace)
    assert (await late(listener, work)).status_code == 200
    before, log = [await rows(), await hold(api, workspace)], await log_of(api, work["run_id"])
    assert (await late(listener, work, began=False)).status_code == 200
    assert [await rows(), await hold(api, workspace)] == before
    assert await log_of(api, work["run_id"]) == log


async def test_what_comes_late_has_one_line_in_the_log(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    work = await lost(control, api, listener, workspace)
    said = {"ended": "terraform had ended with exit code 0", "state": "handed_in"}
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):  # said again, for the answer may be lost
            await listener.send(work, "recovered-state", factories.state(7))
        first = (await hold(api, workspace))["reason"]
        for _ in range(2):
            assert (await late(listener, work, **said)).status_code == 200
    run = work["run_id"]
    (taken,) = (line for line in lines if line["event"] == "a late result was taken")
    expected = (work["phase_id"], run, listener.id)
    assert (taken["phase"], taken["run"], taken["listener"]) == expected
    assert "exit code 0 and wrote serial 7" in taken["known"]
    more = [line for line in lines if line["event"] == "more is known of a hold"]
    assert {(line["workspace"], line["run"]) for line in more} == {(workspace, run)}
    second = (await hold(api, workspace))["reason"]
    assert [line["reason"] for line in more] == [first, second]
    assert first != second


async def test_an_ended_hold_stays_ended(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    work = await lost(control, api, listener, workspace)
    await api.post(f"/api/v2/workspaces/{workspace}/actions/clear-hold")
    taken = await late(listener, work)
    assert (taken.status_code, taken.json()) == (200, {"hold": ""})
    assert await hold(api, workspace) is None


async def starts(agent: Agent, *kept: dict[str, Any]) -> None:
    named = [{"phase_id": work["phase_id"], "fence": work["fence"]} for work in kept]
    said = await agent.call("POST", f"{agent.at}/heartbeat", json={"kept": named})
    assert said.status_code == 200, said.text


async def test_an_agent_that_comes_back_with_nothing_says_so(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    work = await lost(control, api, listener, workspace)
    before, told = await rows(), await hold(api, workspace)
    await starts(foreign)
    await listener.beat()
    await starts(listener, work)  # it will hand it in
    assert await hold(api, workspace) == told
    for _ in range(2):
        await starts(listener)
        known = (await hold(api, workspace))["reason"]
        assert "its agent was started again and has nothing of it: no state of it will" in known
    assert await rows() == before
    emitted = await db.value("select count(*) from outbox where kind = 'workspace.hold-set'")
    assert emitted == 2  # that it was set, and that there is nothing
    # Should it find something after all, that counts.
    assert (await late(listener, work, ended="terraform had ended with exit code 1")).is_success
    assert "exit code 1" in (await hold(api, workspace))["reason"]


@pytest.mark.parametrize("how", ["forced", "canceled", "taken over"])
async def test_whoever_took_the_apply_away_its_agent_may_speak(
    control: Control, api: Client, listener: Agent, pool: str, workspace: str, how: str
) -> None:
    work = await applying(api, listener, workspace)
    agent = listener
    if how == "taken over":
        agent = await control.join(api, pool, "first")
    else:
        await api.post(f"/api/v2/runs/{work['run_id']}/actions/cancel")
        control.clock.move(61 if how == "forced" else LATER)
    if how == "forced":
        await api.post(f"/api/v2/runs/{work['run_id']}/actions/force-cancel")
    await control.sweep()
    before = await rows()
    assert (await late(agent, work)).status_code == 200
    assert "its agent came back" in (await hold(api, workspace))["reason"]
    assert await rows() == before


async def test_only_of_a_lost_apply_under_its_own_fence_by_its_own_agent(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    running = await applying(api, listener, workspace)
    assert (await late(listener, running)).status_code == 409
    control.clock.move(LATER)
    await control.sweep()
    before = [await rows(), await hold(api, workspace)]
    for fence in (running["fence"] - 1, running["fence"] + 1):
        assert (await late(listener, running | {"fence": fence})).status_code == 409
        stale = await listener.send(running | {"fence": fence}, "late-log", b"x", "offset=7")
        assert stale.status_code == 409
    assert (await late(foreign, running)).status_code == 404
    assert (await foreign.send(running, "late-log", b"x", "offset=7")).status_code == 404
    for status in ("applied", "errored", "canceled"):  # also the one that it has got
        assert (await listener.report(running, status)).status_code == 409
    assert (await listener.send(running, "log", b"x", "offset=7")).status_code == 409
    assert [await rows(), await hold(api, workspace)] == before


async def test_who_takes_a_name_over_is_answered_when_its_applies_have_ended(
    control: Control, api: Client, listener: Agent, pool: str, workspace: str
) -> None:
    """What the agent still has is offered at once, once; the next sweep would be too late."""
    work = await applying(api, listener, workspace)
    again = await control.join(api, pool, "first")
    assert await control.status(work["run_id"]) == "errored"
    assert (await again.send(work, "recovered-state", factories.state(7))).status_code == 200
    assert (await late(again, work, state="handed_in")).status_code == 200
    assert "its agent came back" in (await hold(api, workspace))["reason"]


async def test_it_is_the_first_loss_that_counts(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    """A name may be taken over twice before anybody has looked."""
    work = await applying(api, listener, workspace)
    for _ in range(2):
        await leases.let_go(system(control.services), listener.id)
    await control.sweep()
    assert await control.status(work["run_id"]) == "errored"
    assert (await late(listener, work)).status_code == 200


async def test_what_a_revoked_agent_had_ends_at_once(
    control: Control, api: Client, listener: Agent, pool: str, workspace: str
) -> None:
    work = await applying(api, listener, workspace)
    path = f"/api/v2/agent-pools/{pool}/listeners/{listener.id}"
    assert (await api.call("DELETE", path)).status_code == 204
    assert await control.status(work["run_id"]) == "errored"
    assert work["run_id"] in (await hold(api, workspace))["reason"]


async def test_nothing_ends_by_a_loss_while_paused(
    control: Control, api: Client, listener: Agent, pool: str, workspace: str
) -> None:
    work = await applying(api, listener, workspace)
    await epochs.pause(control.services.clock.now(), "a marker says so")
    await control.join(api, pool, "first")
    assert await control.status(work["run_id"]) == "applying"
