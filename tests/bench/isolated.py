"""What keeping runs apart costs: a start, a run of one resource, the memory of what watches.

And how long masking a large value takes. ``python tests/bench/run.py isolated``, as root.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anyio

from terrapod_agent.executors import bubblewrap
from terrapod_agent.executors.base import Command
from terrapod_agent.executors.bubblewrap import Bubblewrap
from terrapod_agent.executors.local import LocalExecutor
from terrapod_agent.executors.users import UserIds
from terrapod_agent.work.redact import Redactor, forms
from tests.bench import agents
from tests.kit.public import Public, public

_STARTS, _RUNS = 20, 3
_CONFIGURATION = 'resource "terraform_data" "one" { input = "made" }\n'


def main() -> None:
    """Measure and print."""
    anyio.run(_measure)
    _mask()


async def _measure() -> None:
    found = bubblewrap.find()
    assert isinstance(found, Bubblewrap), found
    users = UserIds(64000, 64999)
    with _passable() as folder:
        programs = public(folder / "programs")
        reads = (programs.folder,)
        modes = {
            "neither": LocalExecutor(0.02),
            "a user id": LocalExecutor(0.02, users=users),
            "a sandbox": LocalExecutor(0.02, sandbox=found, users=users, reads=reads),
        }
        print(
            "| runs have | ms a start | ms init, plan, apply | MB of agent, idle | running "
            "| of shim and bubblewrap |"
        )
        print("| --- | --- | --- | --- | --- | --- |")
        for mode, executor in modes.items():
            place = folder / mode.replace(" ", "-")
            place.mkdir()
            starts = [await _seconds(executor, place, "true") for _ in range(_STARTS)]
            one = partial(_one_resource, programs)
            runs = [await _seconds(executor, place, one(number)) for number in range(_RUNS)]
            size = await _memory(executor, place)
            times = [f"{1000 * statistics.median(found):.0f}" for found in (starts, runs)]
            held = [f"{size:.1f}" for size in (*await agents.memory(programs, mode), size)]
            print(f"| {mode} | {' | '.join([*times, *held])} |")
    agents.print_beside(*await agents.beside_masking())


@contextmanager
def _passable() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


def _one_resource(programs: Public, number: int) -> str:
    tool, folder = programs.terraform, f"run-{number}"
    made = f"mkdir {folder} && cd {folder} && printf '%s' '{_CONFIGURATION}' > main.tf"
    steps = ("init -input=false", "plan -input=false -out=p", "apply -input=false p")
    return " && ".join([made, *(f"{tool} {step}" for step in steps)])


async def _seconds(executor: LocalExecutor, place: Path, shell: str) -> float:
    return (await _ran(executor, place, shell, lambda: None))[0]


async def _memory(executor: LocalExecutor, place: Path) -> float:
    return (await _ran(executor, place, "sleep 1", agents.watching))[1] or 0.0


async def _ran(
    executor: LocalExecutor, place: Path, shell: str, look: Callable[[], float | None]
) -> tuple[float, float | None]:
    async with executor.account_for(place) as account:
        private = place.parent
        command = Command(
            argv=("/bin/sh", "-c", shell),
            folder=place,
            environment={"PATH": os.defpath, "HOME": str(place), "CHECKPOINT_DISABLE": "1"},
            output=private / "log",
            errors=private / "log",
            lock=private / "lock",
            exit_file=private / "exit",
            grace=5.0,
            account=account,
            writable=(place,),
        )
        began = time.monotonic()
        running = await executor.start(command)
        await anyio.sleep(0.5 if "sleep" in shell else 0)
        seen = look()
        ended = await running.wait()
        await running.close()
        assert ended.code == 0, (private / "log").read_text()
        return time.monotonic() - began, seen


def _mask() -> None:
    value = "correct horse " * 220_000
    text = f'"{value}"\n{value}\n'.encode()
    began, worst = time.process_time(), 0.0
    redactor = Redactor(forms(value))
    for at in range(0, len(text), 65536):
        before = time.process_time()
        redactor.feed(text[at : at + 65536])
        worst = max(worst, time.process_time() - before)
    redactor.finish()
    took = time.process_time() - began
    print(f"\nmasking {len(text) >> 20} MB with a value of 3 MB: {took:.1f} s of a worker,")
    print(f"longest piece {worst:.2f} s")
