"""What an agent holds in memory, idle and at work, and what one run costs the run beside it."""

import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from anyio import Path as Async

from terrapod_agent.executors import kernel
from terrapod_common import wire
from tests.bench.memory import pss
from tests.kit.agent_records import PhaseRecord
from tests.kit.agent_server import AgentServer
from tests.kit.agents import AgentProcess, apply_of, phase, quick
from tests.kit.public import Public
from tests.kit.scripted_terraform import script, scripted_terraform

MODES: Mapping[str, Mapping[str, str]] = {
    "neither": {"sandbox": "off", "run_uids": ""},
    "a user id": {"sandbox": "off", "run_uids": "64000-64999"},
    "a sandbox": {"sandbox": "on", "run_uids": "64000-64999"},
}
_VALUE = "correct horse " * 220_000  # 3 MB
_SMALL_RUNS = 12
_LONGEST = 60
_WAITS = """
resource "terraform_data" "waits" {
  provisioner "local-exec" { command = "touch up; while ! test -e go; do sleep 0.1; done" }
}
"""


class _Agent:
    """An agent in a process of its own, its server in this one."""

    def __init__(self, server: AgentServer, process: AgentProcess, runs: Path) -> None:
        self.server = server
        self.process = process
        self._runs = runs
        self._number = 0

    async def finished(self, record: PhaseRecord) -> None:
        """A phase that is over."""
        await self.server.until(lambda: record.ended, _LONGEST)
        assert record.status in ("planned", "applied"), record.text

    def new(self, files: dict[str, str | bytes], *variables: wire.RunVariable) -> PhaseRecord:
        """A plan of a workspace of its own."""
        self._number += 1
        name = f"w{self._number}"
        named: dict[str, Any] = {
            "run_id": f"run-{name}",
            "workspace": name,
            "phase_id": f"plan-{name}",
        }
        return self.server.add(phase("plan", files, variables=list(variables), **named))

    async def seconds(self, record: PhaseRecord) -> float:
        """From being queued to its end."""
        began = time.monotonic()
        await self.finished(record)
        return time.monotonic() - began

    def there(self, record: PhaseRecord, name: str) -> bool:
        """Whether a run has made a file."""
        return (self._runs / record.work.run_id / "tree" / name).exists()

    def go(self, record: PhaseRecord) -> None:
        """Let a run that waits go on."""
        (self._runs / record.work.run_id / "tree" / "go").touch()


@asynccontextmanager
async def _agent(terraform: bytes, mode: Mapping[str, str], reads: Path) -> AsyncIterator[_Agent]:
    with _passable() as folder:
        (folder / "server").mkdir(mode=0o700)
        server = AgentServer(folder / "server")
        server.tools["terraform/1.15.5"] = terraform
        async with server.up():
            settings = quick(folder / "agent", server, sandbox_reads=(reads,), slots=2)
            process = AgentProcess(settings, (), mode)
            process.start()
            try:
                yield _Agent(server, process, folder / "runs")
            finally:
                process.close()


@contextmanager
def _passable() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


async def memory(programs: Public, mode: str) -> tuple[float, float]:
    """Megabytes of the agent with nothing to do, and while an apply is under way."""
    terraform = await Async(programs.terraform).read_bytes()
    async with _agent(terraform, MODES[mode], programs.folder) as agent:
        plan = agent.new({"main.tf": _WAITS})
        await agent.finished(plan)
        idle = pss(agent.process.pid)
        apply = agent.server.add(
            apply_of(plan, run_id=plan.work.run_id, workspace=plan.work.workspace)
        )
        await agent.server.until(lambda: agent.there(apply, "up"), _LONGEST)
        running = pss(agent.process.pid)
        agent.go(apply)
        await agent.finished(apply)
    return idle, running


async def beside_masking() -> tuple[list[float], list[float], float]:
    """Seconds of small plans alone, of small plans while 3 MB are masked, and of the masking."""
    async with _agent(scripted_terraform(), MODES["neither"], Path("/")) as agent:
        small: dict[str, str | bytes] = script(plan=[["print", "planned"]])
        alone = [await agent.seconds(agent.new(small)) for _ in range(_SMALL_RUNS)]
        secret = wire.RunVariable(key="big", value=_VALUE, sensitive=True)
        steps = [["print", _VALUE], ["print", "ordinary line\n" * 200_000], ["print", _VALUE[:-7]]]
        began = time.monotonic()
        large = agent.new(script(plan=steps), secret)
        beside = []
        while not large.ended:
            beside.append(await agent.seconds(agent.new(small)))
        return alone, beside, time.monotonic() - began


def print_beside(alone: list[float], beside: list[float], took: float) -> None:
    """The figures of :func:`beside_masking`."""
    print(f"\nof two slots one masks 3 MB for {took:.1f} s; a small plan in the other takes")
    for words, found in (("alone", alone), ("meanwhile", beside)):
        middle = statistics.median(found)
        print(
            f"- {words}: {middle:.2f} s in the middle, {max(found):.2f} s at most, of {len(found)}"
        )


def watching() -> float:
    """Megabytes of shims and sandboxes below this process."""
    below = kernel.descendants(os.getpid())
    named = [pid for pid in below if kernel.process_name(pid) in ("bwrap", "python", "python3")]
    return sum(map(pss, named))
