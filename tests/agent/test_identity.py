"""Joining, renewing, being refused; and what the commands say about it."""

import stat
import sys
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner

from terrapod_agent import cli, enroll, identity
from terrapod_agent.errors import OperationFailed, RequestDenied, ServerUnavailable
from terrapod_common.loops import Fatal
from terrapod_common.settings import Secret
from tests.kit.agent_server import AgentServer
from tests.kit.agents import apply_phase, phase, quick, running
from tests.kit.authority import Authority
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio


async def command(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run a command of the agent; its exit code and all that it printed."""
    invoke = CliRunner().invoke
    result = await anyio.to_thread.run_sync(
        lambda: invoke(cli.commands, list(arguments), env=environment)
    )
    return result.exit_code, result.output


async def process_of(*arguments: str, **environment: str) -> tuple[int, str]:
    """The same in a process of its own, for a command that takes over the log of its process."""
    argv = [sys.executable, "-m", "terrapod_agent", *arguments]
    done = await anyio.run_process(argv, env=environment, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()


def private_modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}


async def test_join_keeps_the_key_to_itself(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(server.authority.pem)
    where = ("--data-dir", str(data), "--ca-file", str(ca))
    code, said = await command("join", server.url, "--token", "a-join-token", "--name", "a", *where)
    assert code == 0, said
    assert "joined as a (lsn-1) in pool apool-1" in said
    assert private_modes(data) == {0o600, 0o700}

    code, said = await command("join", server.url, "--token", "a-join-token", *where)
    assert code == 1
    assert "--force" in said
    code, said = await command("join", server.url, "--token", "spent", "--force", *where)
    assert code == 1
    assert "the join token is unknown, revoked or expired" in said
    assert identity.load(data)


async def test_the_token_comes_from_standard_input_or_the_environment(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(server.authority.pem)
    environment = {"TERRAPOD_AGENT_JOIN_TOKEN": "a-join-token", "TERRAPOD_AGENT_CA_FILE": str(ca)}
    code, said = await command("join", server.url, "--data-dir", str(data), **environment)
    assert code == 0, said


async def test_a_server_that_cannot_be_reached_or_trusted_is_told(
    server: AgentServer, data: Path
) -> None:
    settings = quick(data, server)
    assert settings.ca_file
    settings.ca_file.write_text(Authority("another").pem)
    with pytest.raises(ServerUnavailable, match="certificate is not trusted"):
        await enroll.join(settings)
    settings = quick(data, server, url="https://127.0.0.1:9")
    with pytest.raises(ServerUnavailable, match=r"cannot reach 127.0.0.1:9"):
        await enroll.join(settings)
    with pytest.raises(OperationFailed, match="https://"):
        await enroll.join(quick(data, server, url="http://127.0.0.1:9"))
    with pytest.raises(RequestDenied, match="join token"):
        await enroll.join(quick(data, server, join_token=Secret("wrong")))


async def test_run_needs_an_identity(data: Path) -> None:
    code, said = await process_of("run", "--data-dir", str(data))
    assert code == 1
    assert "terrapod-agent join" in said


async def test_bad_settings_are_told_all_at_once(data: Path) -> None:
    environment = {"TERRAPOD_AGENT_SLOTS": "many", "TERRAPOD_AGENT_NONSENSE": "1"}
    code, said = await process_of("run", TERRAPOD_AGENT_RUN_UIDS="70000-60000", **environment)
    assert code == 1
    assert "slots" in said
    assert "TERRAPOD_AGENT_NONSENSE" in said
    assert "run_uids is a range such as 64000-64999, or empty, not '70000-60000'" in said


async def test_a_certificate_is_renewed_in_time(server: AgentServer, data: Path) -> None:
    server.renew_after, server.every = 0.1, 0.2
    async with running(quick(data, server)):
        await server.until(lambda: "renew" in server.calls)
        await server.until(lambda: len(server.listeners) == 2)
        beats = len(server.heartbeats)  # the agent has the next one when it has beaten again
        await server.until(lambda: len(server.heartbeats) >= beats + 3)
        first = next(iter(server.listeners))
        del server.listeners[first]
        plan = server.add(phase("plan", script()))
        await server.until(lambda: plan.ended)
    assert not server.renewed_by_signature


async def test_a_certificate_that_has_ended_is_renewed_by_signature(
    server: AgentServer, data: Path
) -> None:
    server.life, server.renew_after = timedelta(seconds=-1), 0.0
    settings = quick(data, server)
    who = await enroll.join(settings)
    server.life = timedelta(hours=1)
    plan = server.add(phase("plan", script()))
    async with running(settings, who):
        await server.until(lambda: plan.ended)
    assert server.renewed_by_signature


async def test_certificates_change_during_an_apply_that_goes_on(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    server.renew_after = server.renewed_after = 0.3
    steps = [["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"], ["state", 2]]
    apply = server.add(apply_phase(script(apply=steps)))
    async with running(quick(data, server)):
        await server.until((tmp_path / "up").exists)
        before = server.calls.count("renew")
        await server.until(lambda: server.calls.count("renew") >= before + 4)
        (tmp_path / "go").touch()
        await server.until(lambda: apply.ended)
    assert apply.status == "applied"
    assert apply.states[-1][1]


async def test_a_revoked_agent_ends_and_says_why(server: AgentServer, data: Path) -> None:
    settings = quick(data, server)
    who = await enroll.join(settings)
    server.listeners.clear()
    with pytest.raises(ExceptionGroup) as raised:
        async with running(settings, who):
            await anyio.sleep_forever()
    assert raised.group_contains(Fatal, match="join again")


async def test_status_tells_what_the_daemon_does(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    code, said = await command("status", "--data-dir", str(data))
    assert (code, "no agent is running" in said) == (1, True)
    steps = [["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"]]
    plan = server.add(phase("plan", script(plan=steps)))
    async with running(quick(data, server)):
        await server.until((tmp_path / "up").exists)
        said = ""
        while "web: main" not in said:
            code, said = await command("status", "--data-dir", str(data))
        assert code == 0
        assert "connected    yes" in said
        assert "1 of 1 busy" in said
        assert "isolation    runs are not isolated" in said
        (tmp_path / "go").touch()
        await server.until(lambda: plan.ended)
