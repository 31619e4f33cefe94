"""Where the main thread of the server spends its time while it answers, by what lies on its stack.

Shares of all samples: of packages by the innermost place, of our functions with all they call.
"""

import asyncio
import signal
import time
from collections import Counter
from pathlib import Path

from tests.bench import asking, place, table
from tests.bench.asking import Case
from tests.bench.place import Place
from tests.bench.sides import Side

_PACKAGES, _FUNCTIONS = 8, 12  # that are named
_WAITS_SECONDS = 20.0
_OURS = "terrapod_control_plane/"


async def markdown(side: Side, count: int) -> str:
    """A row for each case, on sixteen connections."""
    stage = side.stage
    python, program = (
        Path(stage.command).with_name("python"),
        Path(__file__).with_name("sampled.py"),
    )
    place.start(stage, str(python), str(program), str(stage.folder))
    rows = [[case.name, *_shares(await _sampled(stage, case, count))] for case in side.cases]
    await asyncio.to_thread(place.stop, stage)
    return table.lines(
        ("work", "samples", "packages, innermost", "our functions, with all they call"), rows
    )


async def _sampled(stage: Place, case: Case, count: int) -> dict[tuple[str, ...], int]:
    server, file = stage.running["server"], stage.folder / "samples"
    server.send_signal(signal.SIGUSR1)
    await case.load(max(asking.CONNECTIONS), count)
    server.send_signal(signal.SIGUSR2)
    end = time.monotonic() + _WAITS_SECONDS
    while not file.exists():
        if time.monotonic() > end:
            raise RuntimeError(f"the server wrote no samples of {case.name}")
        await asyncio.sleep(0.05)
    lines = [line.split("\t") for line in file.read_text().splitlines()]
    file.unlink()
    return {tuple(stack.split(";")): int(often) for often, stack in lines}


def _shares(stacks: dict[tuple[str, ...], int]) -> tuple[str, str, str]:
    innermost, ours, every = Counter[str](), Counter[str](), sum(stacks.values())
    for stack, often in stacks.items():
        innermost[_package(stack[-1])] += often
        for one in {at.removeprefix(_OURS) for at in stack if _is_ours(at)}:
            ours[one] += often
    return str(every), _named(innermost, every, _PACKAGES), _named(ours, every, _FUNCTIONS)


def _is_ours(at: str) -> bool:
    return at.startswith(_OURS) and not at.startswith(f"{_OURS}cli/")  # which is below all


def _package(at: str) -> str:
    parts = at.partition(":")[0].removeprefix(_OURS).split("/")
    return f"our {parts[0]}" if at.startswith(_OURS) else parts[0].removesuffix(".py")


def _named(counts: Counter[str], every: int, most: int) -> str:
    return ", ".join(f"{name} {often / every:.0%}" for name, often in counts.most_common(most))
