"""How many statements PostgreSQL executes for a request, read from its log.

PostgreSQL is told to log each statement while some requests are counted, and not before or after.
What the server executes beside them, for its own clock or jobs, is learnt before and left out.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from terrapod_control_plane.cli.demo_stage import Stage

_EXECUTED = re.compile(r"\[(\d+)\] LOG:  (?:statement|execute [^:]*): (.*)")
_CONTROL = ("begin", "start transaction", "commit", "rollback", "savepoint", "release")
_RESET = "select pg_advisory_unlock_all()"  # asyncpg, before it gives a connection back
# What tells others of an event after its commit, some events at a time. That it is read is no
# part of a request; that it is written is one.
_AFTERWARDS = re.compile(
    r"from outbox |outbox_cursors|outbox_dead_letters"
    r"|^select pg_notify\('terrapod', topic\) from unnest\(\$1"
)
_SETTLES_SECONDS = 0.3  # for what a request leaves to be done after its answer
_RARE = 10  # of so many requests, less than one: some job's
_TOLD = 0.05  # what is less than this is not worth a word
_APART_SECONDS = 0.05  # of requests that are sent slowly, to see what else is executed


class Statements(NamedTuple):
    """What one request makes PostgreSQL execute."""

    work: int  # what reads and writes
    control: int  # what begins and ends transactions and savepoints, or resets a connection
    afterwards: float  # in the mean: by those who hear of its events, and not by each request

    def __str__(self) -> str:
        after = f", {self.afterwards:.1f} after" if self.afterwards >= _TOLD else ""
        return f"{self.work} + {self.control}{after}"


def told(texts: Mapping[str, int], requests: int) -> Statements:
    """The parts of what was executed for so many requests."""
    work = control = 0
    common = {text: often for text, often in texts.items() if often * _RARE >= requests}
    for text, often in common.items():
        if _controls(text):
            control += often // requests
        elif not _AFTERWARDS.search(text):
            work += often // requests
    return Statements(work, control, sum(common.values()) / requests - work - control)


class StatementLog:
    """The log of one server's PostgreSQL; statements of the given connection don't count."""

    def __init__(self, stage: Stage, connection: Any) -> None:
        self._file = stage.data / "postgres" / "postgres.log"
        self._connection = connection
        self._others: frozenset[str] = frozenset()

    async def count(self, sends: Sequence[Callable[[], Awaitable[object]]]) -> Statements:
        """What each of these requests needs, sent one after the other."""
        texts = await self._logged(sends, apart=0.0)
        own = {text: often for text, often in texts.items() if text not in self._others}
        return told(own, len(sends))

    async def learn(self, sends: Sequence[Callable[[], Awaitable[object]]]) -> None:
        """See what is executed while the server has little to do, which counts for nothing then."""
        texts = await self._logged(sends, apart=_APART_SECONDS)
        rare = (text for text, often in texts.items() if 2 * often < len(sends))
        self._others = frozenset(text for text in rare if not _controls(text))

    async def _logged(
        self, sends: Sequence[Callable[[], Awaitable[object]]], *, apart: float
    ) -> Counter[str]:
        await self._switch("all")
        began = self._file.stat().st_size
        for send in sends:
            await send()
            await asyncio.sleep(apart)
        await asyncio.sleep(_SETTLES_SECONDS)
        await self._switch("none")
        own = str(await self._connection.fetchval("select pg_backend_pid()"))
        return texts_of(self._file.read_bytes()[began:], own)

    async def _switch(self, what: str) -> None:
        await self._connection.execute(f"alter system set log_statement = '{what}'")
        await self._connection.execute("select pg_reload_conf()")
        await asyncio.sleep(_SETTLES_SECONDS)  # until each connection's process has heard of it
        assert await self._connection.fetchval("show log_statement") == what


def texts_of(log: bytes, own: str) -> Counter[str]:
    """How often each statement is in a log, but for those of one process."""
    lines = log.decode(errors="replace").replace("\n\t", " ").splitlines()
    found = (_EXECUTED.search(line) for line in lines)
    return Counter(match[2].strip() for match in found if match and match[1] != own)


def _controls(text: str) -> bool:
    return text.lower().startswith((*_CONTROL, _RESET))
