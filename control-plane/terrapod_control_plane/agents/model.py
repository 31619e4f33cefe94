"""Pools and listeners."""

import re
from datetime import datetime

from msgspec import Struct

from terrapod_control_plane.kernel.errors import Unprocessable


class Pool(Struct, frozen=True, kw_only=True):
    """Agents that take the same runs."""

    id: str
    name: str
    service_account_name: str
    created_at: datetime
    agent_count: int = 0  # that are online; counted, not stored

    @property
    def organization(self) -> str:
        """The organization, by its name."""
        return "default"


class Listener(Struct, frozen=True, kw_only=True):
    """An agent's identity."""

    id: str
    pool_id: str
    name: str
    public_key: str  # PEM
    version: str = ""
    platform: str = ""
    slots: int = 1
    draining: bool = False
    trouble: str = ""  # why it takes no work
    created_at: datetime
    last_seen_at: datetime | None = None
    revoked_at: datetime | None = None
    root: str | None = None  # where its runs work

    @property
    def pool(self) -> str:
        """The pool whose runs it takes."""
        return self.pool_id


class Certificate(Struct, frozen=True, kw_only=True):
    """A certificate that was issued to a listener."""

    fingerprint: str
    listener_id: str
    not_after: datetime
    revoked_at: datetime | None = None


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,89}")


def checked_name(name: str) -> str:
    """A name of a pool or listener; raises :class:`Unprocessable`."""
    if not _NAME.fullmatch(name):
        raise Unprocessable(
            "A name has 1 to 90 letters, digits, dots, dashes and underscores.",
            pointer="/data/attributes/name",
        )
    return name
