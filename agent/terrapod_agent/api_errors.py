"""What an error answer means: which are worth another try, and what to tell people."""

from typing import Any

import msgspec
from msgspec import Struct

from terrapod_agent.errors import AgentError, FenceLost, RequestDenied, ServerUnavailable
from terrapod_common.agent_protocol import Call

# The others of its kind come from proxies, or while the server starts.
_BROKEN = 500


class _Error(Struct):
    title: str = ""
    detail: str | None = None


class _Errors(Struct):
    errors: list[_Error] = []


_ADVICE = {
    ("join", 401): "the join token is unknown, revoked or expired; ask for a new one",
    ("join", 403): "the join token does not allow this",
    ("join", 409): "the join token is spent, or the name is taken in this pool",
}


def from_response(
    call: Call[Any, Any], status: int, body: bytes, retry_after: str | None = None
) -> AgentError:
    """The exception for an answer of 400 and above."""
    detail = _detail(body)
    if status == 429 or status >= 500:
        seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
        text = f"the server answered {status} to {call.name}{_told(detail)}"
        return ServerUnavailable(text, retry_after=seconds, broken=status == _BROKEN)
    text = f"{call.name} was refused ({status}){_told(detail)}"
    if status == 409 and "fence" in call.query:
        return FenceLost(text, status, detail)
    if advice := _ADVICE.get((call.name, status)):
        text = f"{advice} ({status}{_told(detail)})"
    elif status == 401 and call.port == "agents":
        text = f"the server does not accept this agent's certificate{_told(detail)}; join again"
    return RequestDenied(text, status, detail)


def _detail(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body, type=_Errors).errors
    except msgspec.DecodeError:
        return ""
    return "; ".join(error.detail or error.title for error in found)


def _told(detail: str) -> str:
    return f": {detail}" if detail else ""
