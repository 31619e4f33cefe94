"""A small disk that can be full."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct


class Disk(Struct, frozen=True):
    """A tmpfs of its own."""

    path: Path

    def fill(self, leave: int = 0) -> None:
        """Take all of its space but ``leave`` bytes."""
        status = os.statvfs(self.path)
        rest = status.f_bavail * status.f_frsize - leave
        with suppress(OSError), (self.path / ".filler").open("ab") as file:
            while rest > 0:
                rest -= file.write(b"\0" * min(rest, 1024 * 1024))
                file.flush()

    def free(self) -> None:
        """Give the space back."""
        (self.path / ".filler").unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Disk]:
    """A disk of so many megabytes at the path; only root may mount it."""
    path.mkdir(parents=True, exist_ok=True)
    size = f"size={megabytes}m,mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "chaos", path], check=True)
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", path], check=True)
