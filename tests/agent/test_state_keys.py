"""The addresses of states, which terraform prints when it can't reach one, open nothing."""

from pathlib import Path

import anyio
import pytest

from terrapod_agent.work.phase_folder import PhaseFolder
from terrapod_agent.work.state_server import Store, address_key
from tests.kit.agent_server import AgentServer
from tests.kit.agents import apply_phase, quick, running
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio


async def test_the_key_of_a_state_server_is_masked_in_the_log(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    steps = [["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"], ["shell", f"cat {said}"]]
    apply = server.add(apply_phase(script(apply=steps)))
    async with running(quick(data, server)):
        await server.until((tmp_path / "up").exists)
        ticket = PhaseFolder(data / "phases" / "apply-1.1").load_ticket()
        assert ticket is not None
        key = address_key(ticket.state_password)
        await anyio.Path(said).write_text(f'Put "http://127.0.0.1:1/{key}/put/1": refused\n')
        (tmp_path / "go").touch()
        await server.until(lambda: apply.ended)
    assert 'Put "http://127.0.0.1:1/***/put/1": refused' in apply.text


def test_a_server_has_the_key_that_is_masked_whatever_lies_in_its_folder(tmp_path: Path) -> None:
    orders = {"folder": str(tmp_path), "password": "a-password"}
    assert Store(orders).key == address_key("a-password")
    assert Store(orders).port == 0
    (tmp_path / "address").write_text("1234")
    assert (Store(orders).key, Store(orders).port) == (address_key("a-password"), 1234)
    assert address_key("a-password") != address_key("another")
