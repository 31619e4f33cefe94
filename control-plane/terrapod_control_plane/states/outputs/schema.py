"""JSON:API shape of outputs."""

from typing import Any, ClassVar

from terrapod_control_plane.kernel.jsonapi import Resource


class OutputDoc(Resource, tag="state-version-outputs", kw_only=True):
    """An output of a state."""

    at: ClassVar[str] = "/api/v2/state-version-outputs/{id}"
    name: str
    sensitive: bool
    type: str
    detailed_type: Any
    value: Any
