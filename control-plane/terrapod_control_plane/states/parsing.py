"""What a state says of itself: pure, for it is read in a process of its own where it is large."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from terrapod_control_plane.states.model import Excerpt, Parsed, ParsedOutput, StateResource
from terrapod_control_plane.states.packing import RESOURCES_AT_MOST, packed

_NOTHING = Raw(b"null")
_TYPES: Mapping[str, str] = {
    "list": "array",
    "set": "array",
    "tuple": "array",
    "map": "object",
    "object": "object",
}


class BadState(ValueError):
    """The content is not a state; the message says why."""


class _Resource(Struct, gc=False):
    type: str
    name: str
    mode: str = "managed"
    module: str = "root"
    provider: str = ""
    instances: list[Raw] = []


class _Output(Struct, gc=False):
    value: Raw = _NOTHING
    type: Any = "dynamic"
    sensitive: bool = False


class _State(Struct):
    serial: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    lineage: str = ""
    terraform_version: str = ""
    # An encrypted state has neither.
    outputs: dict[str, _Output] | None = None
    resources: list[_Resource] | None = None


def facts(content: memoryview) -> bytes:
    """The same as :func:`parsed`, for another process; see :func:`told`."""
    return msgspec.msgpack.encode(parsed(content))


def told(facts: bytes) -> Parsed:
    """What another process has found."""
    return msgspec.msgpack.decode(facts, type=Parsed)


def parsed(content: bytes | bytearray | memoryview) -> Parsed:
    """What a state says of itself; raises :class:`BadState`.

    Outputs and resources are packed already, so that nothing large is left to do with them.
    """
    try:
        state = msgspec.json.decode(content, type=_State)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadState(f"The content is not a state: {error}") from None
    resources, outputs = state.resources or [], state.outputs or {}
    return Parsed(
        serial=state.serial,
        lineage=state.lineage,
        terraform_version=clean(state.terraform_version),
        resource_count=sum(len(r.instances) for r in resources if r.mode == "managed"),
        output_count=len(outputs),
        excerpts=[*_of_resources(resources), *_of_outputs(outputs)],
    )


def _of_resources(resources: Sequence[_Resource]) -> Iterator[Excerpt]:
    there = (_summary(resource) for resource in resources if resource.instances)
    return packed("resources", islice(there, RESOURCES_AT_MOST))


def _of_outputs(outputs: Mapping[str, _Output]) -> Iterator[Excerpt]:
    return packed("outputs", (_output(name, outputs[name]) for name in sorted(outputs)))


def clean(text: str) -> str:
    """The same without what no column can hold; the content itself is kept as it came."""
    return text.replace("\0", "\ufffd")


def _summary(resource: _Resource) -> StateResource:
    return StateResource(
        name=resource.name,
        type=resource.type if resource.mode == "managed" else f"data.{resource.type}",
        count=len(resource.instances),
        module=resource.module,
        provider=resource.provider,
    )


def _output(name: str, output: _Output) -> ParsedOutput:
    kind = output.type[0] if isinstance(output.type, list) and output.type else output.type
    text = kind if isinstance(kind, str) else "dynamic"
    return ParsedOutput(
        name=name,
        sensitive=output.sensitive,
        type=_TYPES.get(text, text),
        detailed_type=Raw(msgspec.json.encode(output.type)),
        # As it stands in the state: numbers may be larger than any of ours.
        value=_text(output.value),
    )


def _text(value: Raw) -> Raw:
    try:
        str(value, "utf-8")
    except UnicodeDecodeError:
        return Raw(bytes(value).decode(errors="replace").encode())
    return value
