"""JSON:API shape of a state to be uploaded."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from terrapod_control_plane.kernel.jsonapi import ANY, Payload
from terrapod_control_plane.kernel.relations import one


class StateCreate(Payload, tag="state-versions", kw_only=True):
    """A state to be written: with its content, or with an upload to follow."""

    # Both can be made of the state itself.
    idle: ClassVar[Mapping[str, Collection[Any]]] = {"json-state": ANY, "json-state-outputs": ANY}
    serial: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    md5: Annotated[str, Meta(pattern="^[0-9a-fA-F]{32}$")]
    lineage: str | None = None
    force: bool | None = None
    state: str | None = None
    run: Annotated[str | None, one("runs")] = None
