"""What an error answer means: which are worth another try, and what to tell people."""

from typing import Any

import msgspec
from msgspec import Struct

from terrapod_agent.errors import AgentError, FenceLost, RequestDenied, ServerUnavailable
from terrapod_common.agent_protocol import Call, Code

# The others of its kind come from proxies, or while the server starts.
_BROKEN = 500
_CODES = frozenset(Code)


class _Error(Struct):
    title: str = ""
    detail: str | None = None
    code: str | None = None


class _Errors(Struct):
    errors: list[_Error] = []


_NOT_HELD = frozenset({Code.STALE_FENCE, Code.NOT_YOURS})
_NOT_KNOWN = frozenset({Code.CERTIFICATE, Code.UNKNOWN_LISTENER})
_TO_JOIN = "the join token is unknown, revoked or expired; ask for a new one"
# Of a server that gives no codes.
_ADVICE = {
    ("join", 401): _TO_JOIN,
    ("join", 403): "the join token does not allow this",
    ("join", 409): "the join token is spent, or the name is taken in this pool",
}


def from_response(
    call: Call[Any, Any], status: int, body: bytes, retry_after: str | None = None
) -> AgentError:
    """The exception for an answer of 400 and above."""
    detail, code = _read(body)
    if status == 429 or status >= 500:
        seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
        text = f"the server answered {status} to {call.name}{_told(detail)}"
        return ServerUnavailable(text, retry_after=seconds, broken=status == _BROKEN)
    text = _text(call, status, detail, code)
    lost = code in _NOT_HELD if code else status == 409 and "fence" in call.query
    return (FenceLost if lost else RequestDenied)(text, status, detail, code)


def _text(call: Call[Any, Any], status: int, detail: str, code: Code | None) -> str:
    unknown = code in _NOT_KNOWN if code else status == 401
    advice = _TO_JOIN if code is Code.JOINING else None
    if advice := advice or (None if code else _ADVICE.get((call.name, status))):
        return f"{advice} ({status}{_told(detail)})"
    if unknown and call.port == "agents":
        return f"the server does not accept this agent's certificate{_told(detail)}; join again"
    return f"{call.name} was refused ({status}){_told(detail)}"


def _read(body: bytes) -> tuple[str, Code | None]:
    """What an error document says, and the first code in it that we know."""
    try:
        found = msgspec.json.decode(body, type=_Errors).errors
    except msgspec.DecodeError:
        return "", None
    codes = (Code(error.code) for error in found if error.code in _CODES)
    return "; ".join(error.detail or error.title for error in found), next(codes, None)


def _told(detail: str) -> str:
    return f": {detail}" if detail else ""
