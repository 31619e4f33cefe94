"""The content of a state: stored, and read for what it says of itself."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any

import anyio
import anyio.to_process
import msgspec
from msgspec import Meta, Raw, Struct

from terrapod_control_plane.kernel.blobs.base import Blobs, whole
from terrapod_control_plane.kernel.errors import Unprocessable
from terrapod_control_plane.states.model import Content, Excerpt, Parsed, ParsedOutput, Resource
from terrapod_control_plane.states.packing import RESOURCES_AT_MOST, packed

# Longer ones would be felt by whoever else waits for the event loop.
_HERE_AT_MOST = 128 * 1024
# Each one holds a whole state.
_AT_ONCE = 2
_NOTHING = Raw(b"null")
_TYPES: Mapping[str, str] = {
    "list": "array",
    "set": "array",
    "tuple": "array",
    "map": "object",
    "object": "object",
}

_at_once = anyio.CapacityLimiter(_AT_ONCE)


class BadState(ValueError):
    """The content is not a state; the message says why."""


class _Resource(Struct):
    type: str
    name: str
    mode: str = "managed"
    module: str = "root"
    provider: str = ""
    instances: list[Raw] = []


class _Output(Struct):
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


class Passing:
    """Chunks on their way to the store: digested, and kept to be read if they are few."""

    def __init__(self, chunks: AsyncIterable[bytes], md5: str = "") -> None:
        self._chunks = chunks
        self._expected = md5.lower()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self.content: bytearray | None = bytearray()

    @property
    def md5(self) -> str:
        """Of what has passed."""
        return self._md5.hexdigest()

    @property
    def sha256(self) -> str:
        """Of what has passed."""
        return self._sha256.hexdigest()

    def _keep(self, chunk: bytes) -> None:
        if self.content is not None:
            self.content += chunk
            if len(self.content) > _HERE_AT_MOST:
                self.content = None

    async def all(self) -> AsyncGenerator[bytes, None]:
        """The chunks; fails after the last one when they are not what was announced."""
        async for chunk in self._chunks:
            self._md5.update(chunk)
            self._sha256.update(chunk)
            self._keep(chunk)
            yield chunk
        if self._expected not in ("", self.md5):
            raise Unprocessable(
                f"The content has the md5 {self.md5}, announced was {self._expected}.",
                pointer="/data/attributes/md5",
            )


async def store(blobs: Blobs, key: str, chunks: AsyncIterable[bytes], *, md5: str = "") -> Content:
    """Make a content durable and read it; nothing stays of one that is not a state."""
    passing = Passing(chunks, md5)
    size = await blobs.put(key, passing.all())
    try:
        read = await _read(blobs, key, passing)
    except BadState as error:
        await blobs.delete(key)
        raise Unprocessable(str(error), pointer="/data/attributes/state") from error
    return Content(size=size, md5=passing.md5, sha256=passing.sha256, parsed=read)


async def again(blobs: Blobs, key: str) -> Parsed:
    """What a stored content says of itself; raises :class:`BadState`."""
    async with _at_once:
        return await anyio.to_process.run_sync(parsed, await whole(blobs, key))


async def _read(blobs: Blobs, key: str, passing: Passing) -> Parsed:
    if passing.content is not None:
        return parsed(bytes(passing.content))
    # Few are in memory at a time, however many are sent; and they are read in another process.
    return await again(blobs, key)


def parsed(content: bytes) -> Parsed:
    """What a state says of itself; raises :class:`BadState`.

    It goes from one process to another, so outputs and resources are packed already.
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


def _summary(resource: _Resource) -> Resource:
    return Resource(
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
        value=Raw(bytes(output.value).decode(errors="replace").encode()),
    )
