"""What happened to pools and listeners."""

from typing import ClassVar

from terrapod_control_plane.kernel.caches import CREDENTIALS
from terrapod_control_plane.kernel.outbox import Event


class _EndsCertificates(Event, frozen=True, kw_only=True):
    @property
    def changes(self) -> tuple[str, ...]:
        """Whose certificates count."""
        return (CREDENTIALS,)


class PoolCreated(Event, frozen=True, kw_only=True):
    """A pool exists."""

    kind: ClassVar[str] = "pool.created"
    pool: str
    name: str

    @property
    def subject(self) -> str:
        """The pool."""
        return self.pool


class PoolDeleted(_EndsCertificates, frozen=True, kw_only=True):
    """A pool is gone."""

    kind: ClassVar[str] = "pool.deleted"
    pool: str
    moved_to: str | None = None  # what named it or waited for it

    @property
    def subject(self) -> str:
        """The pool."""
        return self.pool


class ListenerForgotten(_EndsCertificates, frozen=True, kw_only=True):
    """An agent did not come back for so long that it would have to join again."""

    kind: ClassVar[str] = "listener.forgotten"
    listener: str
    pool: str
    name: str

    @property
    def subject(self) -> str:
        """The listener."""
        return self.listener


class ListenerJoined(_EndsCertificates, frozen=True, kw_only=True):
    """An agent has an identity."""

    kind: ClassVar[str] = "listener.joined"
    listener: str
    pool: str
    name: str
    again: bool

    @property
    def subject(self) -> str:
        """The listener."""
        return self.listener


class ListenerRevoked(_EndsCertificates, frozen=True, kw_only=True):
    """An agent is shut out."""

    kind: ClassVar[str] = "listener.revoked"
    listener: str

    @property
    def subject(self) -> str:
        """The listener."""
        return self.listener


class CertificateRenewed(Event, frozen=True, kw_only=True):
    """An agent has its next certificate."""

    kind: ClassVar[str] = "listener.renewed"
    listener: str
    fingerprint: str

    @property
    def subject(self) -> str:
        """The listener."""
        return self.listener
