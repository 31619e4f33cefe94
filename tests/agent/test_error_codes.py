"""A refusal is what its code says; of an older server, what its status says."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from terrapod_agent.api_errors import from_response
from terrapod_agent.errors import AgentError, FenceLost, RequestDenied, ServerUnavailable
from terrapod_common import agent_protocol, wire
from terrapod_common.agent_protocol import Call, Code
from tests.kit.agent_records import Refusal
from tests.kit.agent_server import AgentServer
from tests.kit.agents import apply_phase, quick, running, serving
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio


class OlderServer(AgentServer):
    """From before there were codes."""

    async def _handle(self, *asked: Any) -> Any:
        try:
            return await super()._handle(*asked)
        except Refusal as refusal:
            raise Refusal(refusal.status, refusal.detail) from None


class PausedServer(AgentServer):
    """Nothing starts here."""

    async def on_report(self, named: dict[str, str], report: wire.Report) -> wire.Reported:
        """Refused with the code of a pause."""
        raise Refusal(409, "it goes on after `terrapod resume`", Code.PAUSED)


def told(call: Call[Any, Any], status: int, code: str | None) -> AgentError:
    """What the agent makes of an answer."""
    error = {"status": str(status), "title": "refused", "detail": "why"}
    error |= {"code": code} if code else {}
    return from_response(call, status, msgspec.json.encode({"errors": [error]}))


@pytest.mark.parametrize(
    ("call", "status", "code", "kind"),
    [
        (agent_protocol.LOG, 409, Code.STALE_FENCE, FenceLost),
        (agent_protocol.REPORT, 409, Code.STALE_FENCE, FenceLost),
        (agent_protocol.REPORT, 404, Code.NOT_YOURS, FenceLost),
        (agent_protocol.STATE_PUT, 409, Code.WRONG_STATUS, RequestDenied),
        (agent_protocol.REPORT, 409, Code.LOG_SIZE, RequestDenied),
        (agent_protocol.REPORT, 503, Code.STORAGE_FULL, ServerUnavailable),
        # Without a code, or with one of a newer server.
        (agent_protocol.LOG, 409, None, FenceLost),
        (agent_protocol.LOG, 409, "of-tomorrow", FenceLost),
        (agent_protocol.REPORT, 409, None, RequestDenied),
        (agent_protocol.LOG, 404, None, RequestDenied),
        (agent_protocol.LOG, 503, None, ServerUnavailable),
    ],
)
def test_a_refusal_is_what_its_code_says(
    call: Call[Any, Any], status: int, code: str | None, kind: type[AgentError]
) -> None:
    assert type(told(call, status, code)) is kind


@pytest.mark.parametrize("code", [None, Code.JOINING])
def test_who_cannot_join_is_told_what_to_do(code: Code | None) -> None:
    assert "ask for a new one" in str(told(agent_protocol.JOIN, 401, code))


@pytest.mark.parametrize("code", [None, Code.CERTIFICATE])
def test_who_is_not_known_is_told_to_join_again(code: Code | None) -> None:
    assert "join again" in str(told(agent_protocol.HEARTBEAT, 401, code))


def test_only_without_a_code_does_the_status_count() -> None:
    named = RequestDenied("no", 401, code=Code.NONCE)
    assert named.means(Code.NONCE, otherwise={403})
    assert not named.means(Code.CERTIFICATE, otherwise={401})
    assert RequestDenied("no", 401).means(Code.CERTIFICATE, otherwise={401})


@pytest.mark.parametrize("kind", [AgentServer, OlderServer])
async def test_a_lost_apply_is_handed_in_to_any_server(
    tmp_path: Path, data: Path, kind: type[AgentServer]
) -> None:
    (tmp_path / "server").mkdir()
    async with serving(kind(tmp_path / "server")) as server:
        steps = [["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"], ["state", 3]]
        apply = server.add(apply_phase(script(apply=steps)))
        async with running(quick(data, server)):
            await server.until((tmp_path / "up").exists)
            apply.fence += 1
            (tmp_path / "go").touch()
            await server.until(lambda: apply.late)
            await server.until(lambda: not list((data / "phases").iterdir()))
    assert len(apply.recovered) == 1
    assert apply.late[0].state == "handed_in"
    assert [report.status for report in apply.reports] == ["applying"]


async def test_what_must_not_start_is_given_up(tmp_path: Path, data: Path) -> None:
    (tmp_path / "server").mkdir()
    async with serving(PausedServer(tmp_path / "server")) as server:
        ran = [["touch", f"{tmp_path}/ran"]]
        apply = server.add(apply_phase(script(init=ran, apply=ran)))
        async with running(quick(data, server)):
            await server.until(lambda: "report" in server.calls)
            await server.until(lambda: server.heartbeats and not server.heartbeats[-1].holding)
            await server.until(lambda: not list((data / "phases").iterdir()))
    assert server.calls.count("report") == 1
    assert not (tmp_path / "ran").exists()
    assert not apply.reports
