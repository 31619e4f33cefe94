"""JSON:API shapes of variables."""

from datetime import datetime
from typing import Annotated, ClassVar

from msgspec import UNSET, Meta, UnsetType

from terrapod_control_plane.kernel.jsonapi import Payload, Resource
from terrapod_control_plane.kernel.relations import one
from terrapod_control_plane.variables.model import Category

Key = Annotated[str, Meta(min_length=1, max_length=256)]
Description = Annotated[str, Meta(max_length=512)]


class VariableDoc(Resource, tag="vars", kw_only=True):
    """A variable; its value is null when sensitive."""

    key: str
    value: str | None
    description: str
    category: str
    hcl: bool
    sensitive: bool
    version_id: str
    created_at: datetime
    configurable: Annotated[str, one("workspaces")]

    def links(self) -> dict[str, str | None]:
        """Where it is found, inside of its workspace."""
        return {"self": f"/api/v2/workspaces/{self.configurable}/vars/{self.id}"}


class VariableCreate(Payload, tag="vars", kw_only=True):
    """A variable to be made."""

    echoes: ClassVar[type[Resource] | None] = VariableDoc
    key: Key
    value: str | None = None
    description: Description | None = None
    category: Category = "terraform"
    hcl: bool = False
    sensitive: bool = False


class VariableUpdate(Payload, tag="vars", kw_only=True):
    """What may be changed of a variable; what is left out stays."""

    echoes: ClassVar[type[Resource] | None] = VariableDoc
    key: Key | UnsetType = UNSET
    value: str | UnsetType | None = UNSET
    description: Description | UnsetType | None = UNSET
    category: Category | UnsetType = UNSET
    hcl: bool | UnsetType = UNSET
    sensitive: bool | UnsetType = UNSET
