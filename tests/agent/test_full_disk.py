"""The agent's disk is full: it takes no work and says so, tells how a phase ended, and goes on."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import psutil
import pytest
import structlog
from typer.testing import CliRunner

from terrapod_agent import disk_space, status
from terrapod_agent.cli import commands
from terrapod_common import files, wire
from tests.kit.agent_server import AgentServer
from tests.kit.agents import QUICK, AgentProcess, apply_phase, phase, quick, running
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio

mounts = pytest.mark.needs("root")
MEGABYTE = 1024 * 1024
EVERYTHING = 2**60


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 12 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(file: Path, *, leaving: int = 0) -> None:
    """Take what is free."""
    with file.open("wb", 0) as opened:
        try:
            while opened.write(bytes(65536)):
                pass
        except OSError:
            pass
        if leaving:
            opened.truncate(file.stat().st_size - leaving)


async def test_without_room_nothing_is_taken_and_with_room_it_goes_on(
    server: AgentServer, data: Path, process: AgentProcess
) -> None:
    plan = server.add(phase("plan", script()))
    settings = quick(data, server, free_bytes=EVERYTHING)
    starved = AgentProcess(settings)
    starved.start()
    await server.until(lambda: server.heartbeats and server.heartbeats[-1].trouble)
    assert "its disk is full: " in server.heartbeats[-1].trouble
    assert (plan.status, server.calls.count("next_work")) == ("pending", 0)
    await server.until((data / "status.json").exists)
    await server.until(lambda: (found := status.read(data)) and found.takes_none)
    told = CliRunner().invoke(commands, ["status", "--data-dir", str(data)])
    assert told.exit_code == 1
    assert "takes no work: its disk is full: " in told.stdout
    starved.close()
    process.start()
    await server.until(lambda: plan.ended)
    assert plan.status == "planned"


@mounts
async def test_a_disk_that_fills_up_and_is_freed(server: AgentServer, disk: Path) -> None:
    settings = quick(disk / "agent", server, free_bytes=2 * MEGABYTE)
    first = server.add(phase("plan", script()))
    with structlog.testing.capture_logs() as lines:
        async with running(settings):
            await server.until(lambda: first.ended)
            fill(disk / "ballast", leaving=MEGABYTE)
            # Also a question that is under way is taken back.
            await server.until(lambda: server.heartbeats[-1].trouble)
            second = server.add(phase("plan", script(), phase_id="plan-2"))
            asked = server.calls.count("next_work")
            beats = len(server.heartbeats)
            server.every = 0.05
            await server.until(lambda: len(server.heartbeats) > beats)
            assert (server.calls.count("next_work"), second.status) == (asked, "pending")
            (disk / "ballast").unlink()
            await server.until(lambda: second.ended)
            await server.until(lambda: not server.heartbeats[-1].trouble)
    assert second.status == "planned"
    told = [line for line in lines if line["event"] in ("taking no work", "taking work again")]
    assert [line["event"] for line in told] == ["taking no work", "taking work again"]
    assert told[0]["reason"].startswith("its disk is full: ")
    assert str(disk) in told[0]["reason"]


@mounts
async def test_a_status_that_cannot_be_written_is_not_green(
    server: AgentServer, disk: Path
) -> None:
    settings = quick(disk / "agent", server, free_bytes=0)
    first = server.add(phase("plan", script()))
    async with running(settings):
        await server.until(lambda: first.ended and server.calls.count("next_work") > 1)
        fill(disk / "ballast")
        await server.until(lambda: server.heartbeats[-1].trouble)
        assert "its disk is full" in server.heartbeats[-1].trouble
        # The file could not be written, and says that all is well.
        told = CliRunner().invoke(commands, ["status", "--data-dir", str(disk / "agent")])
        assert told.exit_code == 1
        assert "takes no work: its disk is full" in told.stdout
        (disk / "ballast").unlink()
        await server.until(lambda: not server.heartbeats[-1].trouble)


@mounts
async def test_a_phase_that_has_no_room_is_handed_back(server: AgentServer, disk: Path) -> None:
    settings = quick(disk / "agent", server, free_bytes=0)
    settings = msgspec.structs.replace(settings, waits=msgspec.structs.replace(QUICK, space=600))
    first = server.add(phase("plan", script()))
    async with running(settings):
        await server.until(lambda: first.ended and server.calls.count("next_work") > 1)
        fill(disk / "ballast")  # while the agent has asked already
        second = server.add(phase("plan", script(), phase_id="plan-2"))
        await server.until(lambda: server.heartbeats[-1].dropped)
        assert server.heartbeats[-1].dropped == [wire.HeldPhase(phase_id="plan-2", fence=1)]
        assert server.heartbeats[-1].trouble
        assert second.status == "pending"


@mounts
async def test_a_plan_that_fills_the_disk_is_reported_from_memory(
    server: AgentServer, disk: Path
) -> None:
    steps = [["fill", str(disk / "ballast")], ["print", "no room for this"], ["exit", 1]]
    plan = server.add(phase("plan", script(plan=steps)))
    async with running(quick(disk / "agent", server, free_bytes=MEGABYTE)):
        await server.until(lambda: plan.ended)
        assert plan.status == "errored"
        await server.until(
            lambda: server.heartbeats[-1].trouble and not server.heartbeats[-1].holding
        )


@mounts
async def test_an_apply_that_fills_the_disk_is_reported_from_memory_and_held(
    server: AgentServer, disk: Path
) -> None:
    steps = [["state", 3], ["fill", str(disk / "ballast")], ["exit", 1]]
    apply = server.add(apply_phase(script(apply=steps)))
    async with running(quick(disk / "agent", server, free_bytes=MEGABYTE)):
        await server.until(lambda: apply.ended)
        last = apply.reports[-1]
        assert last.status == "errored"
        # Nothing could be written of how it ended, and so nobody knows.
        assert last.hard
        assert b'"serial": 3' in apply.states[-1][0]
        await server.until(
            lambda: server.heartbeats[-1].trouble and not server.heartbeats[-1].holding
        )


@mounts
async def test_a_configuration_that_does_not_fit_says_so(server: AgentServer, disk: Path) -> None:
    big = os.urandom(14 * MEGABYTE)
    plan = server.add(phase("plan", {"main.tf": big}))
    async with running(quick(disk / "agent", server, free_bytes=MEGABYTE)):
        await server.until(lambda: plan.ended)
        await server.until(lambda: not list((disk / "agent" / "phases").iterdir()))
    assert plan.status == "errored"
    assert "its disk is full" in plan.reports[-1].message


@mounts
async def test_an_apply_is_not_begun_when_that_cannot_be_kept(
    server: AgentServer, disk: Path, tmp_path: Path
) -> None:
    steps = script(init=[["fill", str(disk / "b")]], apply=[["touch", f"{tmp_path}/ran"]])
    apply = server.add(apply_phase(steps))
    async with running(quick(disk / "agent", server, free_bytes=MEGABYTE)):
        await server.until(lambda: apply.ended)
    assert not (tmp_path / "ran").exists()
    assert (apply.status, apply.reports[-1].hard) == ("errored", False)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    assert not disk_space.shortage([tmp_path], 0)
    assert "No such file" in disk_space.shortage([tmp_path / "none"], 0)
    told = disk_space.shortage([tmp_path], EVERYTHING)
    assert told.startswith("its disk is full: ")
    assert str(tmp_path) in told


async def test_a_status_that_is_old_is_not_well(
    server: AgentServer, data: Path, process: AgentProcess
) -> None:
    """The agent is held, so that it writes nothing, and its last words are made old."""
    told = partial(
        CliRunner().invoke,
        commands,
        ["status", "--data-dir", str(data)],
        env={"TERRAPOD_AGENT_FREE_BYTES": "0"},
    )
    process.start()
    await server.until(lambda: (found := status.read(data)) and found.connected)
    assert told().exit_code == 0
    process.send(signal.SIGSTOP)
    await server.until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    well = status.read(data)
    assert well is not None
    old = msgspec.structs.replace(well, written_at=time.time() - 3600)
    files.write_atomically(data / "status.json", msgspec.json.encode(old))
    assert (well.stale, old.stale) == (False, True)
    said = told()
    assert said.exit_code == 1
    assert said.stdout.startswith("attention    this was written 36")
    process.send(signal.SIGCONT)
    await server.until(lambda: (found := status.read(data)) and not found.stale)
    assert told().exit_code == 0


def test_what_an_agent_says_is_bounded() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"trouble": "%s"}' % (b"x" * 1001), type=wire.Heartbeat)
