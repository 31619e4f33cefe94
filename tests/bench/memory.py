"""How much memory processes hold, each shared page counted in parts (PSS)."""

from pathlib import Path

from terrapod_control_plane.cli.demo_stage import Stage
from terrapod_control_plane.kernel.postgres.home import recorded_folder


def of(stage: Stage) -> tuple[float, float]:
    """Megabytes of the server and of its PostgreSQL."""
    folder = recorded_folder(stage.data / "postgres")
    assert folder is not None
    postmaster = int((folder / "cluster" / "postmaster.pid").read_text().split()[0])
    server = stage.running["server"].pid
    return pss(server), sum(map(pss, [postmaster, *_children(postmaster)]))


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


def pss(pid: int) -> float:
    """Megabytes of one process."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    line = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024
