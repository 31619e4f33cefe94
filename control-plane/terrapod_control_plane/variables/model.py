"""Variables."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

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


class Readable(Struct, frozen=True, kw_only=True):
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
