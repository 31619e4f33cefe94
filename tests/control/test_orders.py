"""What the server wants done with phases reaches an agent that waits, whatever it knew before."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from terrapod_common import wire
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio


def known(work: dict[str, Any], kind: wire.OrderKind = "cancel") -> str:
    """What an agent says that has seen this order."""
    return wire.orders_fingerprint(
        [wire.Order(phase_id=work["phase_id"], fence=work["fence"], kind=kind)]
    )


@pytest.mark.parametrize("asked", ["orders?", "runs/next?key=k&"])
async def test_a_force_cancel_reaches_who_waits_with_the_cancel_before_it(
    control: Control, api: Client, listener: Agent, workspace: str, asked: str
) -> None:
    """It is one order as well, so it waited for the next beat."""
    run = await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    await api.post(f"/api/v2/runs/{run}/actions/cancel")
    control.clock.move(61)
    found: list[Any] = []
    work_topic = f"pool:{listener.pool}"
    topic = f"orders:{listener.id}" if asked.startswith("orders") else work_topic

    async def wait() -> None:
        found.append(await listener.get(f"{listener.at}/{asked}wait=30&seen={known(work)}"))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            while not control.services.bus.waiting(topic):
                await anyio.lowlevel.checkpoint()
            await api.post(f"/api/v2/runs/{run}/actions/force-cancel")
    assert [order["kind"] for order in found[0]["orders"]] == ["force_cancel"]


async def test_orders_that_are_known_are_not_said_at_once(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    await api.post(f"/api/v2/runs/{run}/actions/cancel")
    found: list[Any] = []

    async def wait() -> None:
        found.append(await listener.get(f"{listener.at}/orders?wait=30&seen={known(work)}"))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            while not control.services.bus.waiting(f"orders:{listener.id}"):
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            assert found == []
            assert (await listener.report(work, "canceled")).status_code == 200
            tasks.cancel_scope.cancel()
    for seen in ("", "1", "x", known(work, "force_cancel")):
        path = f"{listener.at}/orders?wait=30&seen={seen}"
        assert (await listener.get(path))["orders"] == []


def test_orders_are_told_apart_by_all_that_they_say() -> None:
    one = wire.Order(phase_id="plan-1", fence=1, kind="cancel")
    others = [
        wire.Order(phase_id="plan-2", fence=1, kind="cancel"),
        wire.Order(phase_id="plan-1", fence=2, kind="cancel"),
        wire.Order(phase_id="plan-1", fence=1, kind="force_cancel"),
    ]
    assert wire.orders_fingerprint([]) == "0"
    assert len({wire.orders_fingerprint([order]) for order in [one, *others]}) == 4
    assert wire.orders_fingerprint([one, others[0]]) == wire.orders_fingerprint([others[0], one])
    assert wire.orders_fingerprint([one, others[0]]) != wire.orders_fingerprint([one])


async def test_who_takes_a_question_back_gets_what_it_was_given_and_nothing_new(
    api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace)
    assert await listener.claim("k", "nothing") is None
    before = await listener.claim("k")
    assert before is not None
    again = await listener.claim("k", "nothing")
    assert again is not None
    assert again["phase_id"] == before["phase_id"]
