"""What an apply has done, told from the states before and after it."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from terrapod_agent.work.terraform import Counts


class _Instance(Struct):
    attributes: dict[str, Any] | None = None
    attributes_flat: dict[str, Any] | None = None
    index_key: Any = None


class _Resource(Struct):
    mode: str = ""
    type: str = ""
    name: str = ""
    module: str = ""
    instances: list[_Instance] = []


class _State(Struct):
    resources: list[_Resource] = []


_MOST = 10_000_000  # values of a state; each takes a hundred bytes where it had two


def count_changes(before: bytes | None, after: bytes | None) -> Counts:
    """How many objects came, changed and went; one that was replaced came and went.

    Nothing where a state cannot be read, such as one that OpenTofu has encrypted, or is too much.
    """
    if any(count_values(state or b"") > _MOST for state in (before, after)):
        return Counts()
    try:
        was, now = _objects(before), _objects(after)
    except (msgspec.DecodeError, RecursionError):
        return Counts()
    return Counts(
        additions=len(now.keys() - was.keys()),
        changes=sum(was[key] != now[key] for key in was.keys() & now.keys()),
        destructions=len(was.keys() - now.keys()),
    )


def count_values(document: bytes) -> int:
    """About how many values there are in a JSON document."""
    return sum(map(document.count, (b",", b"{", b"[")))


def _objects(state: bytes | None) -> dict[str, Any]:
    return {} if not state else dict(_managed(msgspec.json.decode(state, type=_State)))


def _managed(state: _State) -> Iterator[tuple[str, Any]]:
    for resource in state.resources:
        if resource.mode == "managed":
            for instance in resource.instances:
                values = instance.attributes or instance.attributes_flat or {}
                # The id tells an object from the one that it replaces at the same address.
                address = [resource.module, resource.type, resource.name, instance.index_key]
                yield repr([*address, values.get("id")]), values
