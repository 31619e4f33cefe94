"""A log that is longer than its limit: the disk is spared, and what counts at its end is found."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from terrapod_agent.work.logs import MaskedLog
from terrapod_common import files, wire
from tests.kit.agent_server import AgentServer
from tests.kit.agents import apply_phase, quick, running
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio

MEGABYTE = 1024 * 1024
PRINTED = json.dumps(
    {"version": 4, "terraform_version": "1.15.5", "serial": 7, "lineage": "l", "resources": []},
    indent=2,
)


async def test_a_state_that_was_printed_behind_a_long_log_is_kept(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    chatter = ["print", "\n".join(["x" * 99] * 1000)]
    steps: list[list[Any]] = [["empty-state"], *[chatter] * 30, ["wait", f"{tmp_path}/go"]]
    steps += [["print", PRINTED], *[chatter] * 5, ["exit", 1]]
    limits = wire.Limits(log_bytes=100_000, state_bytes=100_000)
    apply = server.add(apply_phase(script(apply=steps), limits=limits))
    async with running(quick(data, server)):
        await server.until(lambda: b"The log ends here" in apply.log)
        (tmp_path / "go").touch()
        await server.until(lambda: apply.ended)
    assert apply.reports[-1].state_uploaded, apply.reports[-1].state_trouble
    assert json.loads(apply.states[-1][0])["serial"] == 7


def test_the_middle_of_a_long_log_takes_no_room(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 10 * MEGABYTE + b"the end")
    if not files.punch_hole(path, 9 * MEGABYTE, 9 * MEGABYTE + 4096):
        pytest.skip("files have no holes here")
    log = MaskedLog(path, [], 1000, tail=MEGABYTE)
    said = log.peek()
    assert path.stat().st_size == 10 * MEGABYTE + 7
    assert path.stat().st_blocks * 512 < 2 * MEGABYTE
    assert files.read_tail(path, 8) == b"xthe end"
    with path.open("ab") as file:  # terraform goes on
        file.write(b"y" * MEGABYTE)
    log.advance_to(len(said))
    assert log.peek() == b""
    log.advance_to(0)
    assert log.peek() == said
    assert path.stat().st_blocks * 512 < 2 * MEGABYTE
    assert files.read_tail(path, MEGABYTE) == b"y" * MEGABYTE


def test_the_end_of_a_file_is_read_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"begin end")
    assert files.read_tail(tmp_path / "file", 3) == b"end"
    assert files.read_tail(tmp_path / "file", 100) == b"begin end"
    assert files.read_tail(tmp_path / "none", 3) == b""
    os.mkfifo(tmp_path / "pipe")
    assert files.read_tail(tmp_path / "pipe", 3) == b""
