"""Transactions and savepoints: everything inside happens, or nothing does.

A transaction lives in a context variable: whatever is awaited inside it uses its connection. So no
task group is opened and nothing is fetched from a network inside of one.

**Joining is what happens by default, a savepoint has to be asked for.** Use cases call each other,
so a transaction inside a transaction is the rule here: creating a run passes three. Nearly nobody
catches what the inner one raises, and a savepoint costs two round trips, so the inner one joins the
outer one for nothing. Who does catch says :func:`savepoint`: what was done inside is undone alone,
and the outer one goes on.

Joining alone would lose track of who catches nevertheless: half of the inner one's changes would be
committed with the outer one. So an error (or a cancellation) that leaves a transaction which has
joined dooms the whole: the outer one ends with :class:`Doomed`, unless a savepoint in between took
the error's changes back. And where PostgreSQL itself has refused a statement and somebody went on
regardless, its COMMIT is no more than a quiet ROLLBACK: that raises :class:`Doomed` too.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

import anyio
from piccolo.engine.postgres import PostgresTransaction

from terrapod_control_plane.kernel import engine
from terrapod_control_plane.kernel.connecting import BROKEN
from terrapod_control_plane.kernel.engine import ENGINE

P = TypeVar("P", bound="Participant")

_UNDO_WITHIN = 5.0  # seconds


class Doomed(Exception):
    """A part of the transaction has failed, somebody caught that, and so nothing was committed."""


class Participant(Protocol):
    """What collects changes during a transaction and writes them by itself."""

    async def before(self, sql: str) -> None:
        """Write what this statement has to see; called before it is sent."""

    async def flush(self) -> None:
        """Write changes of rows; may be called several times."""

    async def finish(self) -> None:
        """Write what comes after all rows; called once, before the commit."""

    def mark(self) -> Callable[[], None]:
        """How to go back to what is collected now, for a savepoint that comes to nothing."""


class Transaction:
    """One that is open: its connection, and what is to happen at its end."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.participants: list[Participant] = []
        self.doomed: BaseException | None = None
        self.savepoints = 0
        self._after: list[Callable[[], None]] = []

    def participant(self, kind: type[P]) -> P:
        """The participant of this kind, which joins when it is first asked for."""
        for known in self.participants:
            if isinstance(known, kind):
                return known
        made = kind()
        self.participants.append(made)
        return made

    def on_commit(self, act: Callable[[], None]) -> None:
        """Do this after the commit."""
        self._after.append(act)

    async def flush(self) -> None:
        """Write all changes of rows that wait."""
        for participant in self.participants:
            await participant.flush()

    async def finish(self) -> None:
        """Write all that waits, and commit it."""
        self.refuse_if_doomed()
        await self.flush()
        for participant in self.participants:
            await participant.finish()
        if await self.connection.execute("commit") != "COMMIT":
            raise Doomed("a statement had failed, so PostgreSQL has undone the transaction")

    def done(self) -> None:
        """Do what was left for after the commit."""
        for act in self._after:
            act()

    def mark(self) -> Callable[[], None]:
        """How to go back to what waits now."""
        backs = [participant.mark() for participant in self.participants]
        joined, waiting, doomed = len(self.participants), len(self._after), self.doomed

        def back() -> None:
            del self.participants[joined:], self._after[waiting:]
            self.doomed = doomed
            for each in backs:
                each()

        return back

    def refuse_if_doomed(self) -> None:
        """Raise :class:`Doomed` if a part has failed."""
        if self.doomed is not None:
            raise Doomed("a part of the transaction had failed") from self.doomed


_OPEN: ContextVar[Transaction | None] = ContextVar("transaction", default=None)


def current() -> Transaction | None:
    """The transaction that the caller is inside of, if any."""
    return _OPEN.get()


def in_transaction() -> bool:
    """Whether the caller is inside :func:`transaction`."""
    return _OPEN.get() is not None


def on_commit(act: Callable[[], None]) -> None:
    """Do this once the transaction has been committed, and never if it is not.

    What was left inside of a savepoint that came to nothing is never done either.
    """
    opened = _OPEN.get()
    if opened is None:
        act()
    else:
        opened.on_commit(act)


@asynccontextmanager
async def transaction() -> AsyncIterator[None]:
    """Everything inside happens or nothing does; inside another one it joins that one."""
    if (outer := _OPEN.get()) is not None:
        with _joined(outer):
            yield
        return
    async with engine.pool().acquire() as connection:
        opened = Transaction(connection)
        await connection.execute("begin")
        try:
            with _entered(opened):
                yield
                await opened.finish()
        except BaseException:
            await _undo(connection, "rollback")
            raise
        opened.done()  # before the connection is given back, for that may be cancelled


@asynccontextmanager
async def savepoint() -> AsyncIterator[None]:
    """A part of a transaction that may come to nothing alone: for those who catch what it raises.

    Waiting changes are written at its end, so that what is wrong with them is raised here. Costs
    two statements inside a transaction; outside of one it is a transaction.
    """
    opened = _OPEN.get()
    if opened is None:
        async with transaction():
            yield
        return
    opened.refuse_if_doomed()
    opened.savepoints += 1
    name, back = f"s{opened.savepoints}", opened.mark()
    await opened.connection.execute(f"savepoint {name}")
    try:
        yield
        opened.refuse_if_doomed()
        await opened.flush()
        await opened.connection.execute(f"release savepoint {name}")
    except BaseException as error:
        back()
        if not await _undo(opened.connection, f"rollback to savepoint {name}"):
            opened.doomed = error
        raise


@contextmanager
def _joined(outer: Transaction) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        outer.doomed = outer.doomed or error
        raise


@contextmanager
def _entered(opened: Transaction) -> Iterator[None]:
    known = PostgresTransaction(ENGINE)  # so that piccolo's own queries are inside too
    known.connection = opened.connection
    ours, theirs = _OPEN.set(opened), ENGINE.current_transaction.set(known)
    try:
        yield
    finally:
        ENGINE.current_transaction.reset(theirs)
        _OPEN.reset(ours)


async def _undo(connection: Any, how: str) -> bool:
    """Roll back, also for one who was cancelled; a connection that can't is of no use any more."""
    with anyio.move_on_after(_UNDO_WITHIN, shield=True):
        try:
            if connection.is_in_transaction():  # not after a commit that was none
                await connection.execute(how)
        except BROKEN:
            connection.terminate()
            return False
        return True
    connection.terminate()
    return False
