"""Permission on an id: finds the scope that the id belongs to and decides 404 or 403."""

from collections.abc import Awaitable, Callable, Mapping

from terrapod_common.agent_protocol import Code
from terrapod_control_plane.kernel import ids
from terrapod_control_plane.kernel.errors import Forbidden, NotFound, Unauthorized
from terrapod_control_plane.kernel.policy import (
    PLATFORM,
    Action,
    Actor,
    Scope,
    Verdict,
    Where,
    allows,
)

Resolver = Callable[[str], Awaitable[Scope | None]]


async def must(actor: Actor, action: Action, id_: str, resolvers: Mapping[str, Resolver]) -> Scope:
    """The scope of an id, if the actor may do this there.

    Raises:
        Unauthorized: nobody is asking.
        NotFound: there is no such thing, or the actor may not know of it.
        Forbidden: the actor may see it, but not do this.
    """
    if actor.kind == "nobody":
        raise Unauthorized("This needs a valid token.")
    # Its certificate was looked up with this very request, so a listener is known to be there.
    itself = actor.kind == "listener" and actor.id == id_
    found = Scope(where=Where.LISTENER, id=id_) if itself else None
    scope = found or await _scope(id_, resolvers)
    if not id_ and action.need.where is Where.PLATFORM:
        scope = PLATFORM
    verdict = allows(actor, action, scope) if scope else Verdict.UNSEEN
    if scope is None or verdict is Verdict.UNSEEN:
        code = Code.UNKNOWN_LISTENER if action.need.where is Where.LISTENER else None
        raise NotFound(f"There is no {id_}, or you may not see it.", code=code)
    if verdict is Verdict.FORBIDDEN:
        raise Forbidden(f"You lack the permission {action.text}.")
    return scope


async def _scope(id_: str, resolvers: Mapping[str, Resolver]) -> Scope | None:
    resolver = resolvers.get(ids.kind(id_) or "")
    return await resolver(id_) if resolver else None
