"""What requests ask for all the time, in memory: who holds a credential, whose a workspace is.

An entry counts only while the echo is fresh. Whoever changes what is kept here announces it in the
same transaction: triggers of the tables do so, for no use case and no operator can forget those.
The process that makes the change drops its own at commit, before it answers.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Generic, TypeVar

from msgspec import Struct

from terrapod_control_plane.kernel.access import Resolver
from terrapod_control_plane.kernel.echo import Echo
from terrapod_control_plane.kernel.policy import Actor, Scope, Where

V = TypeVar("V")

_CHANGED = "changed:"
# The topics that the triggers send, see the migration `announced`.
CREDENTIALS = f"{_CHANGED}credentials"
WORKSPACES = f"{_CHANGED}workspaces"
_AT_MOST = 10_000


def workspace(id_: str) -> str:
    """The topic of a change of one workspace's owner, name or labels."""
    return _CHANGED + id_


class Cache(Generic[V]):
    """The entries used last; what is longest unused goes first.

    A read that began before a change was announced may end after it. So whoever wants to keep what
    was read says which number of changes there was before, and is refused when there are more.
    """

    def __init__(self, at_most: int = _AT_MOST) -> None:
        self._entries: OrderedDict[str | bytes, V] = OrderedDict()
        self._at_most = at_most
        self.changes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str | bytes) -> V | None:
        """What is kept under a key, or nothing."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def keep(self, key: str | bytes, value: V, changes: int) -> None:
        """Keep what was read when there were so many changes, unless there are more now."""
        if changes != self.changes:
            return
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._at_most:
            self._entries.popitem(last=False)

    def drop(self, key: str | bytes) -> None:
        """One of them was changed."""
        self.changes += 1
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Any of them may have been changed."""
        self.changes += 1
        self._entries.clear()


class Credential(Struct, frozen=True, kw_only=True):
    """Who holds a token or a certificate."""

    actor: Actor
    until: datetime  # from then on the database is asked again, whatever was heard


class Caches:
    """All that this process keeps of the database, and whether it counts."""

    def __init__(self, echo: Echo | None = None) -> None:
        self.echo = echo or Echo()
        self.credentials: Cache[Credential] = Cache()
        self.scopes: Cache[Scope] = Cache()
        # The workspace of what lies in one, which never moves.
        self._homes: Cache[str] = Cache()

    def heard(self, topic: str) -> None:
        """A topic was committed, by whomever."""
        if topic == CREDENTIALS:
            self.credentials.clear()
        elif topic == WORKSPACES:
            self.scopes.clear()
        elif topic.startswith(_CHANGED):
            self.scopes.drop(topic.removeprefix(_CHANGED))
        else:
            self.echo.heard(topic)

    def missed(self) -> None:
        """Topics may have passed unheard; to be said when it listens again."""
        self.credentials.clear()
        self.scopes.clear()

    async def actor(
        self, key: str | bytes, now: datetime, look: Callable[[], Awaitable[Credential | None]]
    ) -> Actor | None:
        """Who holds a credential. One that nobody holds is not kept: strangers could fill this."""
        known = self.credentials.get(key) if self.echo.fresh() else None
        if known is not None and now < known.until:
            return known.actor
        changes = self.credentials.changes
        found = await look()
        if found is None:
            return None
        self.credentials.keep(key, found, changes)
        return found.actor

    def remembering(self, resolver: Resolver) -> Resolver:
        """The same resolver, which does not look again for what lies in a known workspace."""

        async def scope(id_: str) -> Scope | None:
            home = self._homes.get(id_) or id_
            if self.echo.fresh() and (known := self.scopes.get(home)) is not None:
                return known
            changes = self.scopes.changes
            found = await resolver(id_)
            if found is not None and found.where is Where.WORKSPACE:
                self._keep(id_, found, changes)
            return found

        return scope

    def _keep(self, id_: str, found: Scope, changes: int) -> None:
        if id_ != found.id:
            self._homes.keep(id_, found.id, self._homes.changes)
        self.scopes.keep(found.id, found, changes)
