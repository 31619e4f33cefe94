"""Sockets that a hostile run would like to reach."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def listening(place: Path) -> Iterator[list[str]]:
    """Sockets of the agent's user: one with a path, one without."""
    path, abstract = str(place / "s"), f"@terrapod-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as named, socket.socket(socket.AF_UNIX) as bare:
        named.bind(path)
        bare.bind("\0" + abstract[1:])
        Path(path).chmod(0o600)
        named.listen()
        bare.listen()
        yield [path, abstract]
