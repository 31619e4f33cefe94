"""Who asks, and the services of the application that answering may need."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from msgspec import Struct

from terrapod_control_plane.kernel import access, db, ids, outbox
from terrapod_control_plane.kernel.blobs.base import Blobs
from terrapod_control_plane.kernel.bus import Bus
from terrapod_control_plane.kernel.caches import Caches
from terrapod_control_plane.kernel.clock import Clock
from terrapod_control_plane.kernel.condition import Condition
from terrapod_control_plane.kernel.crypto.authority import Authority
from terrapod_control_plane.kernel.crypto.keys import BadToken, KeyRing, Signer
from terrapod_control_plane.kernel.ephemeral.base import Ephemeral
from terrapod_control_plane.kernel.errors import Forbidden, Refused
from terrapod_control_plane.kernel.locks import LockSession
from terrapod_control_plane.kernel.outbox import Event
from terrapod_control_plane.kernel.policy import Action, Actor, Scope
from terrapod_control_plane.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

Handler = Callable[["Context", Any], Awaitable[None]]


class PoolSeen(Struct, frozen=True, kw_only=True):
    """A pool of agents, as those who hand out work see it."""

    name: str
    slots: int  # of its agents that are online and take work
    last_seen: datetime | None  # of any of its agents
    trouble: str = ""  # of an agent that is online and takes no work: its name, and why
    roots: tuple[str, ...] = ()  # where runs work on those that are online; "" takes any


class AgentDirectory(Struct, frozen=True):
    """What is known of those who do the work, each by ids: pools, and the names of agents."""

    pools: Callable[["Context", Sequence[str]], Awaitable[Mapping[str, PoolSeen]]]
    names: Callable[["Context", Sequence[str]], Awaitable[Mapping[str, str]]]


class Services(Struct, frozen=True, kw_only=True):
    """What is opened once and shared by all requests and jobs."""

    settings: Settings
    clock: Clock
    caches: Caches
    bus: Bus
    locks: LockSession
    blobs: Blobs  # sealed: state, plans, configurations, logs
    binaries: Blobs  # plain: tools, which are public anyway
    ephemeral: Ephemeral
    ring: KeyRing
    signer: Signer
    authority: Authority
    resolvers: Mapping[str, access.Resolver]
    handlers: Mapping[type[Event], Sequence[Handler]]
    agent_directory: AgentDirectory
    condition: Condition


class Context(Struct, frozen=True, kw_only=True):
    """One request or one turn of a job."""

    actor: Actor
    services: Services
    request_id: str
    base_url: str  # of the address that was called, for URLs in the answer
    agent_plane: bool = False  # called on the agent port

    def now(self) -> datetime:
        """The present moment."""
        return self.services.clock.now()

    @property
    def settings(self) -> Settings:
        """The settings of the process."""
        return self.services.settings

    async def must(self, action: Action, id_: str = "") -> Scope:
        """Go on only if the caller may do this to that; see :func:`access.must`."""
        return await access.must(self.actor, action, id_, self.services.resolvers)

    def signed(self, token: str, verb: str, *, otherwise: type[Refused] = Forbidden) -> str:
        """The id of what a signed URL allows this verb on; its token is the credential."""
        try:
            return self.services.signer.verify(token, verb)
        except BadToken as error:
            raise otherwise(str(error)) from None

    def public(self, why: str) -> None:
        """Say that a use case needs no permission, and why: stands where others ask for it."""

    async def emit(self, event: Event) -> None:
        """Say what happened, inside the transaction in which it did."""
        if not db.in_transaction():
            raise RuntimeError(f"{type(event).__name__} was emitted outside of a transaction")
        for handle in self.services.handlers.get(type(event), ()):
            await handle(self, event)
        for topic in event.changes:
            db.on_commit(partial(self.services.caches.heard, topic))
        actor = self.actor
        await outbox.store(event, self.now(), actor.kind, actor.id, actor.name, self.request_id)
        db.on_commit(partial(self.services.bus.wake, outbox.COMMITTED))


def system(services: Services) -> Context:
    """The context of a job: nobody asked for it, nothing is forbidden to it."""
    actor = Actor(kind="system", name="terrapod")
    base = services.settings.public_url
    return Context(actor=actor, services=services, request_id=ids.new("re"), base_url=base)
