"""How much memory processes hold, each shared page counted in parts (PSS)."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from terrapod_control_plane.cli.demo_stage import Stage
from terrapod_control_plane.kernel.postgres.home import recorded_folder
from tests.bench.table import Row


class Held(NamedTuple):
    """Megabytes of everything that runs for one server."""

    server: float
    workers: float  # the processes that it has started beside PostgreSQL
    postgres: float


def of(stage: Stage) -> Held:
    """What the processes of a stage hold now."""
    server, postmaster = stage.running["server"].pid, _postmaster(stage)
    database = {postmaster, *_below(postmaster)}
    return Held(
        pss(server),
        sum(pss(pid) for pid in _below(server) if pid not in database),
        sum(map(pss, database)),
    )


def rows(idle: Held, after: Held) -> list[Row]:
    """All processes, before and after some load."""
    return [
        Row(
            what=f"PSS of the server, of its workers, of PostgreSQL, {when}",
            ours=f"{held.server:.0f} MB, {held.workers:.0f} MB",
            beside=f"PostgreSQL {held.postgres:.0f} MB",
            aim="120 MB, 0 MB; PostgreSQL 120 MB",
        )
        for when, held in (("idle", idle), ("after load", after))
    ]


def _postmaster(stage: Stage) -> int:
    folder = recorded_folder(stage.data / "postgres")
    assert folder is not None
    return int((folder / "cluster" / "postmaster.pid").read_text().split()[0])


def _below(parent: int) -> Iterator[int]:
    for child in _children(parent):
        yield child
        yield from _below(child)


def _children(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == parent:
            found.append(int(status.parent.name))
    return found


def worked(stage: Stage) -> float:
    """Seconds of processors that the server has taken, with its workers and without PostgreSQL."""
    server, postmaster = stage.running["server"].pid, _postmaster(stage)
    return sum(_worked(pid) for pid in [server, *_below(server)] if pid != postmaster)


def _worked(pid: int) -> float:
    try:
        tasks = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    except OSError:
        return 0.0
    return sum(int(task.split()[0]) for task in tasks) / 1e9


def pss(pid: int) -> float:
    """Megabytes of one process."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    line = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024
