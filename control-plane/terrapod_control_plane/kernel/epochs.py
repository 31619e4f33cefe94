"""Epochs of fences, and the pause in which nothing is handed out.

A fence is (epoch, n) in one number. What a database that was set back hands out again could meet
fences that it gave before; a new epoch keeps the two lives of the database apart.
"""

from datetime import datetime

from msgspec import Struct

from terrapod_common.agent_protocol import Code
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.errors import Conflict

# 2^53 is where numbers of JSON end to be exact: 39 bits for hundredths of a second since 1970
# (until 2144), 14 for the claims of one phase.
BITS = 14


class Installation(Struct, frozen=True, kw_only=True):
    """What counts for all of this control plane."""

    epoch: int
    paused_at: datetime | None
    pause_reason: str

    @property
    def paused(self) -> bool:
        """Whether nothing is handed out."""
        return self.paused_at is not None


async def installation() -> Installation:
    """The present epoch and pause."""
    found = await db.one(Installation, "select epoch, paused_at, pause_reason from installation")
    return found or Installation(epoch=0, paused_at=None, pause_reason="")


async def paused() -> str | None:
    """Why nothing is handed out, or nothing while all goes on."""
    why: str | None = await db.value(
        "select pause_reason from installation where paused_at is not null"
    )
    return why


def epoch_of(fence: int) -> int:
    """The epoch of a fence."""
    return fence >> BITS


def is_first(fence: int) -> bool:
    """Whether a phase was given out under this fence for the first time in its epoch."""
    return fence & ((1 << BITS) - 1) == 1


async def pause(now: datetime, reason: str) -> bool:
    """Hand out nothing from now on; whether that is new."""
    sql = (
        "update installation set paused_at = $1, pause_reason = $2 "
        "where paused_at is null returning true"
    )
    return bool(await db.value(sql, now, reason))


_BEGIN = "update installation set epoch = greatest(epoch + 1, $1::bigint) returning epoch"
# Nobody was ever given this fence, so whoever holds the phase is out, and may not ask again.
_SHUT_OUT = (
    "update phases set fence = greatest(fence, $1::bigint), claim_key = null "
    "where lease_until is not null"
)


async def begin(now: datetime) -> int:
    """Begin a new epoch, inside a transaction; who holds a phase holds it no more.

    The clock gives its number, in hundredths of a second: counted on from the database alone,
    two restores of the same backup would give the same.
    """
    epoch: int = await db.value(_BEGIN, int(now.timestamp() * 100))
    await db.execute(_SHUT_OUT, epoch << BITS)
    return epoch


async def go_on() -> None:
    """End the pause, inside the transaction that settled why it was."""
    await db.execute("update installation set paused_at = null, pause_reason = ''")


async def must_go_on() -> None:
    """Refuse what must not happen while nothing is handed out."""
    if why := await paused():
        told = f"The server is paused: {why}. It goes on after `terrapod resume`."
        raise Conflict(told, code=Code.PAUSED)


async def must_be_present(fence: int) -> None:
    """Refuse a fence of an epoch that has ended."""
    if epoch_of(fence) < (await installation()).epoch:
        raise Conflict(
            "This fence was given before the server was restored: what was done under it is not "
            "taken. Keep the state, and compare it with what the workspace has now.",
            code=Code.OLD_EPOCH,
        )
