"""Pages of lists."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from terrapod_control_plane.kernel import jsonapi

T = TypeVar("T")
R = TypeVar("R", bound=jsonapi.Resource)

DEFAULT_SIZE = 20
LARGEST = 100


class Paging(Struct, frozen=True):
    """Which page is asked for: numbers from 1, at most 100 items."""

    number: int = 1
    size: int = DEFAULT_SIZE

    @property
    def offset(self) -> int:
        """How many items stand before it."""
        return (self.number - 1) * self.size


class Page(Struct, Generic[T]):
    """Some items of a list and how many there are in all."""

    items: Sequence[T]
    paging: Paging
    total: int

    def presented(self, into: type[R]) -> jsonapi.Page[R]:
        """The page with its models as resources."""
        return self.holding([jsonapi.present(item, into) for item in self.items])

    def holding(self, items: Sequence[R]) -> jsonapi.Page[R]:
        """The page with these resources in place of its models."""
        return jsonapi.Page(items, self.paging.number, self.paging.size, self.total)
