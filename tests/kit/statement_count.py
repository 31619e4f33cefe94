"""How many statements the process sends to its database."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio.lowlevel

from terrapod_control_plane.kernel.engine import ENGINE

_CONTROL = ("begin", "commit", "rollback", "savepoint", "release")


class Sent(list[str]):
    """The texts of what was sent, in order."""

    @property
    def statements(self) -> list[str]:
        """What reads or writes; budgets are about these."""
        return [text for text in self if not _controls(text)]

    @property
    def control(self) -> list[str]:
        """What begins and ends transactions and savepoints: a round trip each, too."""
        return [text for text in self if _controls(text)]


def _controls(text: str) -> bool:
    return text.lower().startswith(_CONTROL)


@asynccontextmanager
async def counted(then: Callable[[str], None] = lambda _: None) -> AsyncIterator[Sent]:
    """The statements that are sent inside the block, by whomever; ``then`` hears of each."""
    sent = Sent()

    def note(record: Any) -> None:
        sent.append(record.query)
        then(record.query)

    pool: Any = ENGINE.pool
    for holder in pool._holders:
        if holder._con is None:  # else it could be opened meanwhile, and count for nothing
            await holder.connect()
    connections = [holder._con for holder in pool._holders]
    for connection in connections:
        connection.add_query_logger(note)
    try:
        yield sent
        await anyio.lowlevel.checkpoint()  # the driver tells of a statement a moment later
    finally:
        for connection in connections:
            connection.remove_query_logger(note)
