"""How many connections an agent holds, and what its one long poll brings."""

from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from tests.kit.agent_server import AgentServer
from tests.kit.agents import QUICK, phase, quick, running
from tests.kit.scripted_terraform import script
from tests.kit.sockets import peers_of

pytestmark = pytest.mark.anyio


def held(server: AgentServer) -> set[int]:
    """The connections that agents hold to it."""
    return peers_of(urlsplit(server.agent_url).port or 0)


@pytest.mark.parametrize("slots", [1, 4])
async def test_an_idle_agent_holds_two_connections(
    server: AgentServer, data: Path, slots: int
) -> None:
    server.every = 0.2
    async with running(quick(data, server, slots=slots)):
        await server.until(lambda: len(server.heartbeats) >= 4)
        assert len(held(server)) == 2
        assert server.calls.count("next_work") == 1
        assert "orders" not in server.calls


async def test_beats_share_a_connection(server: AgentServer, data: Path) -> None:
    server.every = 6  # longer than httpx keeps a connection unless it is told to
    async with running(quick(data, server)):
        await server.until(lambda: "next_work" in server.calls and server.heartbeats)
        before = held(server)
        await server.until(lambda: len(server.heartbeats) >= 2)
        assert held(server) == before


async def test_a_drain_reaches_an_idle_agent_by_its_question_for_work(
    server: AgentServer, data: Path
) -> None:
    server.every = 60
    # The agent hears of the end of the drain when its poll for orders ends: that is soon, then.
    short = msgspec.structs.replace(QUICK, poll=1.0)
    async with running(quick(data, server, waits=short)):
        await server.until(lambda: server.calls.count("next_work") and server.heartbeats)
        server.drain = True
        server.wake()
        await server.until(lambda: "orders" in server.calls)  # which waits for the end of it
        plan = server.add(phase("plan", script()))
        assert plan.status == "pending"
        assert len(held(server)) <= 2
        server.drain = False
        await server.until(lambda: plan.ended)


async def test_orders_are_asked_for_while_something_runs(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    server.every = 60
    plan = server.add(phase("plan", script(plan=[["print", "up"], ["wait", "never"]])))
    async with running(quick(data, server)):
        await server.until(lambda: b"up" in plan.log)
        assert "orders" in server.calls
        server.order(plan, "cancel")
        await server.until(lambda: plan.ended)
        assert plan.status == "canceled"
        await server.until(lambda: server.calls.count("next_work") == 2)
        await server.until(lambda: 1 <= len(held(server)) <= 2)


async def test_free_slots_take_work_beside_each_other(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    records = []
    for number in (1, 2, 3):
        steps = [["print", "up"], ["wait", f"{tmp_path}/go"]]
        record = phase(
            "plan", script(plan=steps), run_id=f"run-{number}", phase_id=f"plan-{number}"
        )
        records.append(server.add(record))
    async with running(quick(data, server, slots=3)):
        await server.until(lambda: all(b"up" in record.log for record in records))
        (tmp_path / "go").touch()
        await server.until(lambda: all(record.ended for record in records))
