"""What the agents' test server remembers."""

import hashlib
from typing import Any, Literal

import msgspec
from msgspec import Struct

from terrapod_common import agent_protocol, wire
from terrapod_common.agent_protocol import Code
from tests.kit.asgi import Answer, Question


class Fault(Struct):
    """What goes wrong with the next call of that name."""

    call: str
    how: Literal["lose_answer", "lose_question", "status"]
    status: int = 503


class PhaseRecord(Struct, kw_only=True):
    """One phase as the server knows it."""

    work: wire.Work
    configuration: bytes = b""
    state: bytes = b""
    log: bytearray = msgspec.field(default_factory=bytearray)
    states: list[tuple[bytes, bool]] = []
    recovered: list[bytes] = []
    late: list[wire.LateResult] = []
    artifacts: dict[str, bytes] = {}
    reports: list[wire.Report] = []
    fence: int = 1
    ended: bool = False
    keys: list[str] = []

    def append(self, offset: int, body: bytes) -> wire.LogAnswer:
        """Append to the log at the expected offset."""
        if offset == len(self.log):
            self.log += body
        return wire.LogAnswer(offset=len(self.log))

    @property
    def status(self) -> str:
        """What the agent reported last."""
        return self.reports[-1].status if self.reports else "pending"

    @property
    def text(self) -> str:
        """The log so far."""
        return self.log.decode(errors="replace")


class Refusal(Exception):
    """Answered as an error; without a code as servers from before the codes answered."""

    def __init__(self, status: int, detail: str, code: Code | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code

    def answer(self) -> Answer:
        """The answer."""
        error = {"status": str(self.status), "title": "refused", "detail": self.detail}
        error |= {"code": self.code} if self.code else {}
        return Answer(self.status, msgspec.json.encode({"errors": [error]}))


def stored(body: bytes) -> wire.StoredAnswer:
    """The answer to an upload."""
    return wire.StoredAnswer(size=len(body), digest=hashlib.sha256(body).hexdigest())


_DOWNLOAD: Any = agent_protocol.Call(
    name="download", method="GET", path="/download/{tool}/{version}", request=None, response=bytes
)


def match(question: Question) -> tuple[Any, dict[str, str]]:
    """The call of the protocol that a request is, and the names in its path."""
    parts = question.path.split("/")
    for call in (*agent_protocol.CALLS, _DOWNLOAD):
        wanted = call.path.split("/")
        if call.method == question.method and len(wanted) == len(parts):
            pairs = list(zip(wanted, parts, strict=True))
            if all(want == part or want.startswith("{") for want, part in pairs):
                return call, {want[1:-1]: part for want, part in pairs if want.startswith("{")}
    raise AssertionError(f"no such call: {question.method} {question.path}")
