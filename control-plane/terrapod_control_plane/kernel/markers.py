"""What outlives a database that is set back: markers in the blob store, claims that agents hold.

A marker is written after the start of an apply was committed and before the agent is told, so a
marker that the database does not know proves that it is older than what has happened. Markers are
sealed and claims are signed with the key ring: nobody else can make one.
"""

from contextlib import suppress

import msgspec
from msgspec import Struct

from terrapod_control_plane.kernel.blobs.base import BlobMissing, Blobs, once, whole
from terrapod_control_plane.kernel.blobs.sealed import BlobDamaged
from terrapod_control_plane.kernel.crypto.keys import BadToken, KeyMissing, KeyRing

PREFIX = "marker/"
_CLAIM = "claim"


class Claim(Struct, frozen=True, kw_only=True):
    """Who was given which phase under which fence."""

    listener: str
    workspace: str
    workspace_name: str
    run: str
    phase: str
    fence: int

    @property
    def key(self) -> str:
        """Where its marker lies: the name alone tells which are known to the database."""
        return f"{PREFIX}{self.workspace}/{self.phase}.{self.fence}"


class Place(Struct, frozen=True):
    """What the key of a marker tells."""

    key: str
    workspace: str
    phase: str
    fence: int


async def mark(blobs: Blobs, claim: Claim) -> None:
    """Keep that this start was confirmed; the one before in its workspace is forgotten."""
    before = [key async for key in blobs.below(f"{PREFIX}{claim.workspace}/") if key != claim.key]
    await blobs.put(claim.key, once(msgspec.json.encode(claim)))
    for key in before:
        await blobs.delete(key)


async def places(blobs: Blobs) -> list[Place]:
    """Where markers lie."""
    return [place async for key in blobs.below(PREFIX) if (place := _place(key))]


def _place(key: str) -> Place | None:
    _, _, rest = key.partition("/")
    workspace, _, name = rest.partition("/")
    phase, _, fence = name.partition(".")
    return Place(key, workspace, phase, int(fence)) if fence.isdecimal() else None


async def read(blobs: Blobs, place: Place) -> Claim | None:
    """What a marker says, if it was sealed by a server with our keys."""
    with suppress(BlobMissing, BlobDamaged, KeyMissing, msgspec.DecodeError):
        claim = msgspec.json.decode(await whole(blobs, place.key), type=Claim)
        return claim if claim.key == place.key else None
    return None


def signed(ring: KeyRing, claim: Claim) -> str:
    """The claim as a token for the agent."""
    return ring.sign(msgspec.json.encode(claim), _CLAIM)


def opened(ring: KeyRing, token: str) -> Claim | None:
    """The claim of a token, if a server with our keys signed it."""
    with suppress(BadToken, msgspec.DecodeError):
        return msgspec.json.decode(ring.signed(token, _CLAIM), type=Claim)
    return None
