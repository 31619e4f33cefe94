"""What of a state's content another workspace may read."""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

_NONE = Raw(b"{}")


class Encrypted(ValueError):
    """Whoever wrote the state has encrypted it, so that its outputs are not to be had."""


class _State(Struct):
    serial: int
    version: Any = 4  # of the format; whatever stands there was taken when it was stored
    terraform_version: str = ""
    lineage: str = ""
    outputs: Raw = _NONE
    encrypted_data: Any | UnsetType = UNSET


class _Shared(Struct):
    version: Any
    terraform_version: str
    serial: int
    lineage: str
    outputs: Raw
    resources: list[Raw] = []
    check_results: None = None


def outputs_only(content: bytes | memoryview) -> bytes:
    """The state with its outputs as they are, and without a resource."""
    state = msgspec.json.decode(content, type=_State)
    if state.encrypted_data is not UNSET:
        raise Encrypted
    shared = _Shared(
        version=state.version,
        terraform_version=state.terraform_version,
        serial=state.serial,
        lineage=state.lineage,
        outputs=_NONE if bytes(state.outputs) == b"null" else state.outputs,
    )
    return msgspec.json.encode(shared)
