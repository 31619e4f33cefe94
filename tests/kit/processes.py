"""The processes of a server and an agent, found by what they are."""

import contextlib
from pathlib import Path

import psutil

from tests.kit.embedded import postmaster

_SHIM = "terrapod_agent.executors.shim"
_TOOLS = ("terraform", "tofu")


def shims(agent: int) -> list[psutil.Process]:
    """What holds terraform for an agent."""
    return [one for one in below(agent) if _shim(command(one))]


def terraforms(agent: int) -> list[psutil.Process]:
    """Every terraform of an agent; a script that plays it starts with its interpreter."""
    return [
        one
        for one in below(agent)
        if not _shim(command(one))
        and not any(_is(part, ("bwrap",)) for part in command(one))
        and any(_is(part, _TOOLS) for part in command(one)[:3])
    ]


def database(data_dir: Path) -> psutil.Process:
    """The PostgreSQL of a server's data directory."""
    return psutil.Process(postmaster(data_dir / "postgres"))


def below(pid: int) -> list[psutil.Process]:
    """All that a process has started, and they in turn; one quick look, for what is soon over."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, left = [], [pid]
    while left:
        born = children.get(left.pop(), [])
        left += born
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [psutil.Process(child) for child in born]
    return found


def command(process: psutil.Process) -> list[str]:
    """Its command line; nothing when it has ended."""
    try:
        said: list[str] = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
    return said


def run_of(process: psutil.Process) -> str:
    """The run that a terraform works for."""
    try:
        run: str = process.environ().get("TFC_RUN_ID", "")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""
    return run


def _shim(parts: list[str]) -> bool:
    return any(_SHIM in part for part in parts)


def _is(part: str, names: tuple[str, ...]) -> bool:
    return Path(part).name in names
