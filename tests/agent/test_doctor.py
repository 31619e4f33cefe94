"""`terrapod-agent doctor` on a healthy agent, and on what is wrong with one."""

from pathlib import Path

import msgspec
import pytest

from terrapod_agent import doctor, enroll, status
from terrapod_agent.doctor import Finding
from terrapod_agent.settings import AgentSettings
from tests.kit.agent_server import AgentServer
from tests.kit.agents import phase, quick, running
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio


async def found(chosen: AgentSettings) -> dict[str, Finding]:
    return {finding.subject: finding async for finding in doctor.examine(chosen)}


async def test_a_healthy_agent(server: AgentServer, data: Path) -> None:
    chosen = quick(data, server)
    plan = phase("plan", script())
    async with running(chosen):
        server.add(plan)
        await server.until(lambda: plan.ended)
        seen = await found(chosen)
    verdicts = {what: finding.verdict for what, finding in seen.items()}
    healthy = ("identity", "certificate", "public port", "agent port", "clock", "space", "tools")
    assert verdicts == {**dict.fromkeys(healthy, "ok"), "isolation": "note"}
    assert "runs are not isolated" in seen["isolation"].detail
    assert "the sandbox is switched off" in seen["isolation"].detail
    assert seen["tools"].detail.startswith("1 ")


async def test_an_agent_that_was_started_otherwise_is_told(
    server: AgentServer, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    chosen = quick(data, server)
    async with running(chosen):
        await server.until(lambda: status.read(data))
        # As somebody asks who does not know the agent's options, and from another folder.
        other = msgspec.structs.replace(chosen, data_dir=Path(data.name), sandbox="auto")
        assert other.data_dir.is_absolute()
        told = [f.detail async for f in doctor.examine(other) if f.subject == "isolation"]
    assert any(
        "the agent that runs was started otherwise: runs are not isolated" in t for t in told
    )
    assert not any("Can't find source path" in t for t in told)


async def test_without_an_identity(server: AgentServer, data: Path) -> None:
    seen = await found(quick(data, server))
    assert seen["identity"].verdict == "FAIL"
    assert "use `terrapod-agent join`" in seen["identity"].detail
    assert "public port" not in seen


async def test_a_server_that_is_away_a_full_disk_and_a_sandbox_that_must_be(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "server").mkdir()
    server = AgentServer(tmp_path / "server")
    async with server.up():
        chosen = quick(data, server, free_bytes=1 << 60, sandbox="on")
        await enroll.join(chosen)
    monkeypatch.setenv("PATH", "/nowhere")
    seen = await found(chosen)
    wrong = {what for what, finding in seen.items() if finding.verdict == "FAIL"}
    assert wrong == {"public port", "agent port", "space", "isolation"}
    assert "bwrap and setpriv is not installed" in seen["isolation"].detail


async def test_an_agent_that_was_shut_out_is_told(server: AgentServer, data: Path) -> None:
    chosen = quick(data, server)
    await enroll.join(chosen)
    server.listeners.clear()
    seen = await found(chosen)
    assert {what for what, finding in seen.items() if finding.verdict == "FAIL"} == {"agent port"}
    assert "does not accept this agent's certificate" in seen["agent port"].detail
    assert "join again" in seen["agent port"].detail


async def test_a_changed_tool_is_named(server: AgentServer, data: Path) -> None:
    tool = data / "tools" / ("0" * 64) / "terraform"
    tool.parent.mkdir(parents=True)
    tool.write_text("another")
    chosen = quick(data, server)
    await enroll.join(chosen)
    told = [
        finding.detail async for finding in doctor.examine(chosen) if finding.subject == "tools"
    ]
    assert str(tool) in told[0]
    assert told[1].startswith("0 ")
