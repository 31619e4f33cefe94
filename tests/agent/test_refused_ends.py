"""Ends that the server does not take as they are: it gets to know them all the same."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from terrapod_common import wire
from tests.kit.agent_records import Refusal
from tests.kit.agent_server import AgentServer
from tests.kit.agents import apply_phase, phase, quick, running, serving
from tests.kit.scripted_terraform import script, scripted_terraform

pytestmark = pytest.mark.anyio


class Unwilling(AgentServer):
    """Takes no more than so many bytes of a log, and forgets a start that it has confirmed."""

    log_bytes = 2**30
    forgets = False

    async def on_log(self, named: dict[str, str], body: bytes) -> wire.LogAnswer:
        """Refused where it is too long."""
        if body and len(self._phase(named).log) + len(body) > self.log_bytes:
            raise Refusal(413, "the log is too long")
        return await super().on_log(named, body)

    async def on_report(self, named: dict[str, str], report: wire.Report) -> wire.Reported:
        """The phase is given up when its start has been confirmed."""
        found = self.phases[report.phase_id or ""]
        if self.forgets and found.reports:
            raise Refusal(409, "the fence is stale")
        answer = await super().on_report(named, report)
        found.fence += self.forgets
        return answer


@pytest.fixture
async def unwilling(tmp_path: Path) -> AsyncIterator[Unwilling]:
    (tmp_path / "server").mkdir()
    async with serving(Unwilling(tmp_path / "server")) as unwilling:
        yield unwilling


@pytest.mark.parametrize("kind", ["plan", "apply"])
async def test_an_end_is_reported_although_its_log_is_refused(
    unwilling: Unwilling, data: Path, kind: str
) -> None:
    unwilling.log_bytes = 200
    lines: list[list[Any]] = [["print", "x" * 1000], ["state", 3]]
    record = {
        "plan": phase("plan", script(plan=lines[:1])),
        "apply": apply_phase(script(apply=lines)),
    }
    found = unwilling.add(record[kind])
    async with running(quick(data, unwilling)):
        await unwilling.until(lambda: found.ended)
        await unwilling.until(lambda: not list((data / "phases").iterdir()))
    assert found.status == {"plan": "planned", "apply": "applied"}[kind]
    assert found.reports[-1].log_size == len(found.log) < 1000


async def test_a_start_that_was_confirmed_unheard_is_explained_late(
    unwilling: Unwilling, data: Path, tmp_path: Path
) -> None:
    unwilling.forgets = True
    unwilling.fault("report", "lose_answer")
    ran = [["touch", f"{tmp_path}/ran"]]
    apply = unwilling.add(apply_phase(script(init=ran, apply=ran)))
    async with running(quick(data, unwilling)):
        await unwilling.until(lambda: apply.late)
        await unwilling.until(lambda: not list((data / "phases").iterdir()))
    assert apply.late == [wire.LateResult(began=False)]
    assert "nothing was applied" in apply.text
    assert not (tmp_path / "ran").exists()


async def test_an_apply_without_a_state_that_did_not_begin_leaves_no_doubt(
    server: AgentServer, data: Path
) -> None:
    """OpenTofu begins without one."""
    tool = wire.Tool(name="tofu", version="1.11.0")
    server.tools["tofu/1.11.0"] = scripted_terraform()
    apply = server.add(apply_phase(script(init=[["exit", 1]]), tool=tool))
    async with running(quick(data, server)):
        await server.until(lambda: apply.ended)
        await server.until(lambda: not list((data / "phases").iterdir()))
    last = apply.reports[-1]
    assert (last.status, last.hard, last.state_uploaded) == ("errored", False, True)
