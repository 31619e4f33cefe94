"""Agents that wait: who is woken, who gets what, and what a client that leaves leaves behind."""

from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from terrapod_common import wire
from terrapod_control_plane.kernel import db
from tests.kit import factories
from tests.kit.control import Agent, Client, Control
from tests.kit.statement_count import counted

pytestmark = pytest.mark.anyio


async def wait_for_waiter(control: Control, topic: str) -> None:
    """Until somebody has looked in vain and waits to be woken."""
    with anyio.fail_after(10):
        while not control.services.bus.waiting(topic):
            await anyio.lowlevel.checkpoint()


async def test_a_waiting_agent_is_woken_by_a_run(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    found: list[Any] = []

    async def wait() -> None:
        found.append(await listener.get(f"{listener.at}/runs/next?wait=30&key=k"))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await wait_for_waiter(control, f"pool:{listener.pool}")
            run = await factories.run(api, workspace)
    assert found[0]["run_id"] == run


async def test_many_who_ask_at_once_never_get_the_same(
    api: Client, listener: Agent, foreign: Agent
) -> None:
    wanted = set()
    for name in ("one", "two", "three"):
        made = await factories.workspace(api, name)
        await factories.configuration(api, made)
        wanted.add(await factories.run(api, made))
    found: list[dict[str, Any]] = []

    async def ask(agent: Agent, key: str) -> None:
        work = await agent.claim(key)
        if work is not None:
            found.append(work)

    async with anyio.create_task_group() as tasks:
        for turn in range(5):
            for agent in (listener, foreign):
                tasks.start_soon(ask, agent, f"{agent.id} {turn}")
    # Who asks without waiting may pass while another looks, so a last one takes what is left.
    while work := await listener.claim(f"rest {len(found)}"):
        found.append(work)
    assert len(found) == len(wanted)
    assert {work["run_id"] for work in found} == wanted


async def test_a_poll_whose_client_has_left_claims_nothing(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.call, "GET", f"{listener.at}/runs/next?wait=30&key=k")
        await wait_for_waiter(control, f"pool:{listener.pool}")
        tasks.cancel_scope.cancel()
    with anyio.fail_after(10):
        while control.services.bus.lines:
            await anyio.lowlevel.checkpoint()
    run = await factories.run(api, workspace)
    work = await foreign.claim("k")
    assert work is not None
    assert (work["run_id"], work["fence"]) == (run, 1)


async def test_a_newer_poll_of_a_slot_ends_the_older(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    found: dict[str, httpx.Response] = {}

    async def wait(key: str, slot: int) -> None:
        query = f"wait=30&slot={slot}&key={key}"
        found[key] = await listener.call("GET", f"{listener.at}/runs/next?{query}")

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, "older", 0)
            await wait_for_waiter(control, f"pool:{listener.pool}")
            tasks.start_soon(wait, "newer", 0)
            while not found:
                await anyio.lowlevel.checkpoint()
            assert found["older"].status_code == 204
            run = await factories.run(api, workspace)
    assert found["newer"].json()["run_id"] == run


async def test_slots_wait_beside_each_other(control: Control, api: Client, listener: Agent) -> None:
    runs = set()
    found: list[str] = []

    async def wait(slot: int) -> None:
        work = await listener.get(f"{listener.at}/runs/next?wait=30&slot={slot}&key={slot}")
        found.append(work["run_id"])

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for slot in (0, 1):
                tasks.start_soon(wait, slot)
            await wait_for_waiter(control, f"pool:{listener.pool}")
            for name in ("one", "two"):
                made = await factories.workspace(api, name)
                await factories.configuration(api, made)
                runs.add(await factories.run(api, made))
    assert set(found) == runs


async def test_a_waiting_agent_hears_of_an_order(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    await factories.starts_plan(listener)
    found: list[Any] = []

    async def wait() -> None:
        found.append(await listener.get(f"{listener.at}/orders?wait=30&seen=0"))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await wait_for_waiter(control, f"orders:{listener.id}")
            await api.post(f"/api/v2/runs/{run}/actions/cancel")
    assert [order["kind"] for order in found[0]["orders"]] == ["cancel"]


@pytest.mark.parametrize("named", ["", "&seen=0"])
async def test_a_question_for_work_brings_orders_to_who_names_those_seen(
    control: Control, api: Client, listener: Agent, workspace: str, named: str
) -> None:
    run = await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    found: list[httpx.Response] = []

    async def wait() -> None:
        path = f"{listener.at}/runs/next?wait=2&key=k{named}"
        found.append(await listener.call("GET", path))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await wait_for_waiter(control, f"pool:{listener.pool}")
            await api.post(f"/api/v2/runs/{run}/actions/cancel")
    if named:
        order = {"phase_id": work["phase_id"], "fence": 1, "kind": "cancel"}
        assert found[0].json() == {"orders": [order]}
    else:
        assert found[0].status_code == 204


async def test_work_comes_to_who_names_the_orders_it_has_seen(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    path = f"{listener.at}/runs/next?wait=0&key=k&seen=0"
    assert (await listener.get(path))["work"]["run_id"] == run
    assert (await listener.get(path))["work"]["run_id"] == run, "the same question, the same work"
    again = f"{listener.at}/runs/next?wait=0&key=other&seen=0"
    assert (await listener.call("GET", again)).status_code == 204


async def test_a_lost_answer_is_given_again_before_those_who_stand_in_line(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    lost = await listener.claim("k")
    assert lost is not None
    async with anyio.create_task_group() as tasks:
        path = f"{foreign.at}/runs/next?wait=30&key=other&root={foreign.root}"
        tasks.start_soon(foreign.call, "GET", path)
        await wait_for_waiter(control, f"pool:{listener.pool}")
        again = await listener.claim("k")
        assert await listener.claim("new") is None
        tasks.cancel_scope.cancel()
    assert again is not None
    assert (again["run_id"], again["fence"]) == (run, lost["fence"])


async def test_an_order_that_is_known_does_not_end_a_question(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    known = wire.orders_fingerprint([wire.Order(phase_id=work["phase_id"], fence=1, kind="cancel")])
    found: list[Any] = []

    async def wait() -> None:
        found.append(await listener.get(f"{listener.at}/runs/next?wait=30&key=k&seen={known}"))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await wait_for_waiter(control, f"pool:{listener.pool}")
            await api.post(f"/api/v2/runs/{run}/actions/cancel")  # the one that was seen
            other = await factories.workspace(api, "other")
            await factories.configuration(api, other)
            wanted = await factories.run(api, other)
    assert found[0]["work"]["run_id"] == wanted


async def test_an_idle_agent_costs_two_statements_a_request(
    control: Control, listener: Agent, foreign: Agent
) -> None:
    await listener.beat()
    beats, polls = [], []
    for number in range(3):  # a job of the server may send something meanwhile, not each time
        async with counted() as sent:
            await listener.beat()
        beats.append([*sent])
        path = f"runs/next?wait=1&key={{}}-{number}&seen=0"
        with anyio.fail_after(20):
            async with counted() as sent, anyio.create_task_group() as tasks:
                tasks.start_soon(listener.call, "GET", f"{listener.at}/{path.format('head')}")
                await wait_for_waiter(control, f"pool:{listener.pool}")
                sent.clear()
                tasks.start_soon(foreign.call, "GET", f"{foreign.at}/{path.format('next')}")
        polls.append([*sent])
    assert min(map(len, beats)) <= 2, beats
    assert min(map(len, polls)) <= 2, polls


async def test_a_refused_poll_is_refused_as_anything_else(listener: Agent, foreign: Agent) -> None:
    for path in ("runs/next?wait=30", "orders?wait=30"):
        assert (await foreign.call("GET", f"{listener.at}/{path}")).status_code == 404


async def test_a_waiting_agent_is_woken_although_the_bus_lost_its_connection(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    found: list[Any] = []

    async def wait() -> None:
        found.append(await listener.get(f"{listener.at}/runs/next?wait=30&key=k"))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await wait_for_waiter(control, f"pool:{listener.pool}")
            killed = await db.value(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity "
                "where query ilike 'listen %' or query = 'select 1'"
            )
            assert killed
            run = await factories.run(api, workspace)
    assert found[0]["run_id"] == run


async def test_a_listener_that_is_revoked_while_it_waits_gets_nothing(
    control: Control, api: Client, listener: Agent, pool: str, workspace: str
) -> None:
    found: list[int] = []

    async def wait() -> None:
        answer = await listener.call("GET", f"{listener.at}/runs/next?wait=30&key=k")
        found.append(answer.status_code)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await wait_for_waiter(control, f"pool:{listener.pool}")
            path = f"/api/v2/agent-pools/{pool}/listeners/{listener.id}"
            assert (await api.call("DELETE", path)).status_code == 204
            run = await factories.run(api, workspace)
    assert found == [401]
    assert await control.status(run) == "plan_queued"
    assert await db.value("select count(*) from phases where lease_until is not null") == 0
