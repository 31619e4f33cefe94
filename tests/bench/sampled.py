"""A program: `terrapod`, whose main thread is looked at now and then while it works.

``python tests/bench/sampled.py FOLDER serve``, with the Python of the checkout that is looked at.
SIGUSR1 begins, SIGUSR2 ends and writes ``FOLDER/samples``, a line for each stack that was seen:
how often, a tab, and its places from the outermost on. Time in C is its caller's.
"""

import signal
import sys
import sysconfig
from collections import Counter
from pathlib import Path
from types import FrameType

from terrapod_control_plane.cli import main

FOLDER = Path(sys.argv[1])
EACH_SECONDS = 0.002  # of the process's work, not of the clock
ROOTS = (sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"))
SEEN: Counter[tuple[str, ...]] = Counter()


def _begin(*_: object) -> None:
    SEEN.clear()
    signal.setitimer(signal.ITIMER_PROF, EACH_SECONDS, EACH_SECONDS)


def _look(_signal: int, frame: FrameType | None) -> None:
    stack = []
    while frame is not None:
        stack.append(f"{_short(frame.f_code.co_filename)}:{frame.f_code.co_name}")
        frame = frame.f_back
    SEEN[tuple(reversed(stack))] += 1


def _short(name: str) -> str:
    _, ours, rest = name.rpartition("/terrapod_")
    if ours:
        return f"terrapod_{rest}"
    for root in ROOTS:
        name = name.removeprefix(f"{root}/")
    return name


def _end(*_: object) -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    draft = FOLDER / "samples.new"
    draft.write_text("".join(f"{often}\t{';'.join(stack)}\n" for stack, often in SEEN.items()))
    draft.rename(FOLDER / "samples")


if __name__ == "__main__":
    for number, deed in (
        (signal.SIGUSR1, _begin),
        (signal.SIGPROF, _look),
        (signal.SIGUSR2, _end),
    ):
        signal.signal(number, deed)
    sys.argv[1:] = sys.argv[2:]
    main()
