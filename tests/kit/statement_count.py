"""How many statements the process sends to its database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from terrapod_control_plane.kernel.db import ENGINE


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that are sent inside the block, by whomever."""
    sent: list[str] = []

    def note(record: Any) -> None:
        sent.append(record.query)

    pool: Any = ENGINE.pool
    connections = [holder._con for holder in pool._holders if holder._con is not None]
    for connection in connections:
        connection.add_query_logger(note)
    try:
        yield sent
    finally:
        for connection in connections:
            connection.remove_query_logger(note)
