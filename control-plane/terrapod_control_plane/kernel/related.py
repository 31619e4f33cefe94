"""How related resources are fetched for ``?include=``."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jsonapi import Resource, present

R = TypeVar("R", bound=Resource)

# Fetches the resources with these ids that the caller may see.
Fetch = Callable[[Context, Sequence[str]], Awaitable[Sequence[Resource]]]


def presented(
    fetch: Callable[[Context, Sequence[str]], Awaitable[Sequence[Any]]], into: type[R]
) -> Fetch:
    """Fetch models and show each as a resource."""

    async def fetched(ctx: Context, wanted: Sequence[str]) -> Sequence[Resource]:
        return [present(model, into) for model in await fetch(ctx, wanted)]

    return fetched
