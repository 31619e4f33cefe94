"""What an agent counts on: the control plane and the agents' test server answer alike."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from terrapod_agent import identity as identities
from terrapod_agent.client import Client
from terrapod_agent.connectivity import Connectivity
from terrapod_agent.errors import FenceLost, RequestDenied
from terrapod_common import agent_protocol, wire
from terrapod_common.agent_protocol import Code
from tests.kit import factories
from tests.kit.agent_planes import Plane, PlaneAgent
from tests.kit.agents import QUICK

pytestmark = pytest.mark.anyio

PLAN = b"{}"
DIGEST = hashlib.sha256(PLAN).hexdigest()


@contextmanager
def refused(status: int, code: Code) -> Iterator[None]:
    """What happens in the block is refused with this status and for this reason."""
    with pytest.raises(RequestDenied) as told:
        yield
    assert (told.value.status, told.value.code) == (status, code)
    lost = code in (Code.STALE_FENCE, Code.NOT_YOURS)
    assert isinstance(told.value, FenceLost) is lost


def lease_of(work: wire.Work, **changed: Any) -> dict[str, Any]:
    """How calls about a phase name it."""
    return {"phase_id": work.phase_id, "fence": work.fence} | changed


async def planning(plane: Plane, agent: PlaneAgent) -> wire.Work:
    """A plan that has started."""
    await plane.queue()
    work = await agent.claim("plan")
    assert work is not None
    await agent.report(work, "planning")
    return work


async def applying(plane: Plane, agent: PlaneAgent) -> wire.Work:
    """An apply that has started, with a line of log."""
    plan = await planning(plane, agent)
    for name in (wire.PLAN_FILE, wire.PLAN_JSON):
        await agent.upload(agent_protocol.ARTIFACT_PUT, plan, PLAN, name=name, digest=DIGEST)
    await agent.report(plan, "planned", has_changes=True, log_size=0)
    work = await agent.claim("apply")
    assert work is not None
    await agent.report(work, "applying")
    await agent.upload(agent_protocol.LOG, work, b"begins\n", offset="0")
    return work


async def test_a_token_pays_for_an_identity(plane: Plane, agent: PlaneAgent) -> None:
    answer = await agent.heartbeat()
    assert answer.every_seconds > 0
    assert (answer.leases, answer.lost, answer.orders, answer.drain) == ({}, [], [], False)


async def test_a_wrong_token_does_not(plane: Plane, tmp_path: Path) -> None:
    with refused(401, Code.JOINING):
        await PlaneAgent.joined(plane, tmp_path / "agent", "join.nonsense")


async def test_a_certificate_is_renewed_for_its_key(plane: Plane, agent: PlaneAgent) -> None:
    csr = identities.certificate_request(agent.identity.key, agent.identity.name)
    answer = await agent.client.call(agent_protocol.RENEW, wire.Renew(csr=csr))
    assert answer.certificate != agent.identity.certificate
    assert answer.ca_certificate == agent.identity.ca_certificate


async def test_who_is_no_agent_is_told_so(plane: Plane, agent: PlaneAgent) -> None:
    nobody = Client(
        plane.url,
        identities.public_context(plane.ca),
        QUICK,
        Connectivity(quiet=True),
        agent.identity.listener_id,
    )
    with refused(403, Code.AGENT_PORT):
        await nobody.call(agent_protocol.HEARTBEAT, wire.Heartbeat())
    await nobody.close()
    with refused(404, Code.UNKNOWN_LISTENER):
        other = "listener-1111111111111111"
        await agent.client.call(agent_protocol.HEARTBEAT, wire.Heartbeat(), listener_id=other)
    await plane.revoke(agent.identity.listener_id)
    with refused(401, Code.CERTIFICATE):
        await agent.heartbeat()


async def test_work_comes_once_and_again_for_its_key(plane: Plane, agent: PlaneAgent) -> None:
    assert await agent.claim("plan") is None
    await plane.queue()
    work = await agent.claim("plan", key="mine")
    assert work is not None
    assert work.kind == "plan"
    assert await agent.claim("plan", key="mine") == work
    assert await agent.claim("plan") is None
    answer = await agent.heartbeat(work)
    assert set(answer.leases) == {work.phase_id}
    assert answer.lost == []


async def test_an_order_comes_by_every_way(plane: Plane, agent: PlaneAgent) -> None:
    ask = agent.client.call
    assert (await ask(agent_protocol.ORDERS, None, seen="0")).orders == []
    work = await planning(plane, agent)
    await plane.cancel(work)
    order = wire.Order(phase_id=work.phase_id, fence=work.fence, kind="cancel")
    assert (await agent.heartbeat(work)).orders == [order]
    assert (await ask(agent_protocol.ORDERS, None, seen="0")).orders == [order]
    seen = wire.orders_fingerprint([order])
    assert (await ask(agent_protocol.ORDERS, None, seen=seen)).orders == [order]
    await agent.report(work, "canceled", log_size=0)
    assert (await ask(agent_protocol.ORDERS, None, seen="0")).orders == []


async def test_a_start_is_confirmed_to_its_kind(plane: Plane, agent: PlaneAgent) -> None:
    await plane.queue()
    work = await agent.claim("plan")
    assert work is not None
    with refused(409, Code.WRONG_STATUS):
        await agent.report(work, "applying")
    for _ in range(2):  # the first answer may have been lost
        assert await agent.report(work, "planning") == "planning"


async def test_a_log_grows_at_its_end(plane: Plane, agent: PlaneAgent) -> None:
    work = await planning(plane, agent)
    for offset, sent, there in (("0", b"abc", 3), ("0", b"abc", 3), ("7", b"x", 3), ("3", b"d", 4)):
        answer = await agent.upload(agent_protocol.LOG, work, sent, offset=offset)
        assert answer == wire.LogAnswer(offset=there)
    with refused(409, Code.LOG_SIZE):
        await agent.report(work, "errored", log_size=3)
    for _ in range(2):
        assert await agent.report(work, "errored", log_size=4) == "errored"


async def test_an_apply_gets_what_its_plan_left(
    plane: Plane, agent: PlaneAgent, tmp_path: Path
) -> None:
    plan = await planning(plane, agent)
    got = await agent.client.download(
        agent_protocol.CONFIGURATION, tmp_path / "c", **lease_of(plan)
    )
    assert got.size > 0
    put, name = agent_protocol.ARTIFACT_PUT, wire.PLAN_FILE
    with refused(422, Code.WRONG_DIGEST):
        await agent.upload(put, plan, b"another", name=name, digest=DIGEST)
    stored = await agent.upload(put, plan, PLAN, name=name, digest=DIGEST)
    assert stored == wire.StoredAnswer(size=len(PLAN), digest=DIGEST)
    await agent.report(plan, "planned", has_changes=True, log_size=0)
    work = await agent.claim("apply")
    assert work is not None
    call = agent_protocol.ARTIFACT_GET
    got = await agent.client.download(call, tmp_path / "p", **lease_of(work, name=name))
    assert (got.size, got.digest) == (len(PLAN), DIGEST)
    got = await agent.client.download(agent_protocol.STATE_GET, tmp_path / "s", **lease_of(work))
    assert got.size == 0


async def test_a_state_is_stored_and_may_come_again(plane: Plane, agent: PlaneAgent) -> None:
    work, body = await applying(plane, agent), factories.state(3)
    stored = wire.StoredAnswer(size=len(body), digest=hashlib.sha256(body).hexdigest())
    for final in ("false", "true", "true"):
        assert await agent.upload(agent_protocol.STATE_PUT, work, body, final=final) == stored
    assert await agent.report(work, "applied", log_size=7) == "applied"


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"fence": 2**40}, 409, Code.STALE_FENCE),
        ({"phase_id": "plan-1111111111111111"}, 404, Code.NOT_YOURS),
    ],
)
async def test_what_is_not_held_changes_nothing(
    plane: Plane,
    agent: PlaneAgent,
    tmp_path: Path,
    changed: dict[str, Any],
    status: int,
    code: Code,
) -> None:
    work, client = await planning(plane, agent), agent.client
    lease = lease_of(work, **changed)
    puts: list[tuple[agent_protocol.Call[bytes, Any], dict[str, str]]] = [
        (agent_protocol.LOG, {"offset": "0"}),
        (agent_protocol.STATE_PUT, {"final": "true"}),
        (agent_protocol.ARTIFACT_PUT, {"name": wire.PLAN_FILE, "digest": DIGEST}),
    ]
    for call, named in puts:
        with refused(status, code):
            await client.upload(call, PLAN, **lease, **named)
    for got in (agent_protocol.CONFIGURATION, agent_protocol.STATE_GET):
        with refused(status, code):
            await client.download(got, tmp_path / "got", **lease)
    with refused(status, code):
        report = wire.Report(status="errored", log_size=0, **lease)
        await client.call(agent_protocol.REPORT, report, run_id=work.run_id)
    assert await agent.report(work, "errored", log_size=0) == "errored"


async def test_what_is_held_is_not_late(plane: Plane, agent: PlaneAgent) -> None:
    work, body = await applying(plane, agent), factories.state(3)
    with refused(409, Code.NOT_LOST):
        await agent.upload(agent_protocol.RECOVERED_STATE, work, body)
    with refused(409, Code.NOT_LOST):
        await agent.upload(agent_protocol.LATE_LOG, work, b"more", offset="7")
    with refused(409, Code.NOT_LOST):
        late = wire.LateResult(began=True)
        await agent.client.call(agent_protocol.LATE_RESULT, late, **lease_of(work))


async def test_a_lost_apply_is_told_of_once(plane: Plane, agent: PlaneAgent) -> None:
    work, body = await applying(plane, agent), factories.state(3)
    await plane.give_up(work)
    assert (await agent.heartbeat(work)).lost == [work.phase_id]
    with refused(409, Code.STALE_FENCE):
        await agent.upload(agent_protocol.LOG, work, b"more", offset="7")
    with refused(409, Code.STALE_FENCE):
        await agent.upload(agent_protocol.STATE_PUT, work, body, final="true")
    with refused(409, Code.STALE_FENCE):
        await agent.report(work, "applied", log_size=7)
    stored = wire.StoredAnswer(size=len(body), digest=hashlib.sha256(body).hexdigest())
    assert await agent.upload(agent_protocol.RECOVERED_STATE, work, body) == stored
    for offset, sent, there in (("0", b"", 7), ("7", b"more", 11), ("7", b"more", 11)):
        answer = await agent.upload(agent_protocol.LATE_LOG, work, sent, offset=offset)
        assert answer == wire.LogAnswer(offset=there)
    late = wire.LateResult(began=True, ended="terraform had ended", state="handed_in")
    for _ in range(2):
        await agent.client.call(agent_protocol.LATE_RESULT, late, **lease_of(work))
    with refused(409, Code.NOTHING_MORE):
        await agent.upload(agent_protocol.LATE_LOG, work, b"and more", offset="11")
