"""State versions and their outputs."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Literal

from msgspec import Raw, Struct

Status = Literal["pending", "finalized", "discarded", "recovered"]


class StateResource(Struct, frozen=True, kw_only=True):
    """What a state manages under one address, and how many of it."""

    name: str
    type: str
    count: int
    module: str
    provider: str


class StateVersion(Struct, frozen=True, kw_only=True):
    """A state as it was uploaded; its content is a blob."""

    id: str
    workspace_id: str
    run_id: str | None
    created_by: str | None
    created_at: datetime
    status: Status = "pending"
    intermediate: bool = False
    serial: int
    lineage: str
    md5: str
    size: int = 0
    force: bool = False
    terraform_version: str = ""
    resource_count: int = 0
    output_count: int | None = 0  # unknown of those from before excerpts were kept
    finalized_at: datetime | None = None

    @property
    def run(self) -> str | None:
        """The run that made it."""
        return self.run_id

    @property
    def workspace(self) -> str:
        """The workspace whose state it is."""
        return self.workspace_id

    @property
    def blob(self) -> str:
        """The key of the content."""
        return f"state/{self.workspace_id}/{self.id}"


class Shown(StateVersion, frozen=True, kw_only=True):
    """A version with some of its outputs and resources, and the addresses for the caller."""

    outputs: list[str]
    resources: list[StateResource] = []
    resources_processed: bool = True
    hosted_state_download_url: str | None = None
    hosted_state_upload_url: str | None = None
    hosted_json_state_upload_url: str | None = None


class Offer(Struct, frozen=True, kw_only=True):
    """What somebody says of a state that they want to write."""

    by: str | None
    serial: int
    lineage: str  # empty: not told yet
    md5: str
    force: bool = False


class ParsedOutput(Struct, frozen=True, array_like=True):
    """An output as it stands in a state."""

    name: str
    sensitive: bool
    type: str
    detailed_type: Raw
    value: Raw


class ReadableOutput(Struct, frozen=True, kw_only=True):
    """An output with its value, which is nothing where it may not be shown."""

    id: str
    name: str
    sensitive: bool
    type: str
    detailed_type: Any
    value: Any


Excerpted = Literal["outputs", "resources"]


class Excerpt(Struct, frozen=True, kw_only=True):
    """Some of the outputs or resources of a state, packed; sealed where it is kept."""

    kind: Excerpted
    first: int  # its number in the state
    count: int
    content: bytes


class ExcerptOf(Excerpt, frozen=True, kw_only=True):
    """An excerpt and the version that it is of; its content is sealed."""

    state_version_id: str


class Parsed(Struct, frozen=True, kw_only=True):
    """What is known of a state's content."""

    serial: int
    lineage: str
    terraform_version: str
    resource_count: int
    output_count: int
    excerpts: list[Excerpt]


class Content(Struct, frozen=True, kw_only=True):
    """A content that is stored, and what is in it."""

    size: int
    md5: str
    sha256: str
    parsed: Parsed


class Writer(Struct, frozen=True, kw_only=True):
    """A run that writes state; ``still`` raises when it may not any more."""

    workspace: str
    run: str
    still: Callable[[], Awaitable[object]]  # asked inside the transaction


class Saved(Struct, frozen=True, kw_only=True):
    """A state of a run is durable."""

    version: str
    size: int
    sha256: str


class NewState(Struct, frozen=True, kw_only=True):
    """A state that is to be written: with its content in base64, or with an upload to follow."""

    serial: int
    md5: str
    lineage: str | None = None
    force: bool | None = None
    state: str | None = None
    run: str | None = None
