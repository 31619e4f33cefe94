"""How another process of ours finds an embedded PostgreSQL that runs already."""

from pathlib import Path

from terrapod_common import files
from terrapod_control_plane.kernel.postgres.home import PostgresFailed, recorded_folder
from terrapod_control_plane.kernel.postgres.process import Address


def exists(data_dir: Path) -> bool:
    """Whether there was ever a cluster of this data directory."""
    folder = recorded_folder(data_dir)
    return folder is not None and (folder / "cluster").is_dir()


def running(data_dir: Path) -> str | None:
    """The DSN of the server that another process runs here; nothing when none does."""
    if not files.is_locked(data_dir / "postgres.lock"):
        return None
    folder = recorded_folder(data_dir)
    try:
        lines = ((folder or data_dir) / "cluster" / "postmaster.pid").read_text().splitlines()
        password = (data_dir / "postgres.password").read_text().strip()
        port, sockets, host = int(lines[3]), lines[4].strip(), lines[5].strip()
    except (OSError, ValueError, IndexError):
        raise PostgresFailed(
            f"another terrapod is running on {data_dir}, and its database can't be reached yet: "
            "try again in a moment"
        ) from None
    return Address(sockets or host, port).dsn(password)
