"""Variables."""

from datetime import datetime
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

Category = Literal["terraform", "env"]


class Variable(Struct, frozen=True, kw_only=True):
    """A variable of a workspace; its value is sealed, whether it is sensitive or not."""

    id: str
    workspace_id: str
    key: str
    sealed: bytes
    category: Category
    hcl: bool
    sensitive: bool
    description: str
    version_id: str
    created_at: datetime


class NewVariable(Struct, frozen=True, kw_only=True):
    """What a variable is made of."""

    key: str
    value: str | None = None
    description: str | None = None
    category: Category = "terraform"
    hcl: bool = False
    sensitive: bool = False


class VariableChange(Struct, frozen=True, kw_only=True):
    """What is to be changed of a variable; what is left out stays."""

    key: str | UnsetType = UNSET
    value: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    category: Category | UnsetType = UNSET
    hcl: bool | UnsetType = UNSET
    sensitive: bool | UnsetType = UNSET


class ReadableVariable(Struct, frozen=True, kw_only=True):
    """A variable as it may be shown: without its value when that is sensitive."""

    id: str
    key: str
    value: str | None
    category: Category
    hcl: bool
    sensitive: bool
    description: str
    version_id: str
    created_at: datetime
    configurable: str
