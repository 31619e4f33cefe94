"""Pools and listeners."""

from datetime import datetime

from msgspec import Struct


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
