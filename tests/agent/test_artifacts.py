"""What goes from plan to apply, and states on their way to the server."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from terrapod_agent import enroll
from terrapod_agent import identity as identities
from terrapod_agent.client import Client
from terrapod_agent.connectivity import Connectivity
from terrapod_agent.errors import CertificateRefused, RequestDenied
from terrapod_common import agent_protocol, wire
from tests.kit.agent_server import AgentServer
from tests.kit.agents import QUICK, apply_of, apply_phase, phase, quick, running
from tests.kit.authority import Authority, pem
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio

MANY = 16


def folders(data: Path) -> list[Path]:
    return list((data / "phases").iterdir())


async def test_lock_file_and_created_files_reach_the_apply(server: AgentServer, data: Path) -> None:
    files = script(
        init=[["write", ".terraform.lock.hcl", "locked"], ["arguments"], ["exit", 0]],
        plan=[["write", "made.zip", "made by the plan"]],
        apply=[["wait", "made.zip"], ["arguments"]],
    )
    files["sub/script.json"] = files.pop("script.json")
    async with running(quick(data, server)):
        plan = server.add(phase("plan", files, working_directory="sub"))
        await server.until(lambda: plan.ended)
        assert set(plan.artifacts) == {
            *(wire.PLAN_FILE, wire.PLAN_JSON, wire.LOCK_FILE, wire.CREATED_FILES)
        }
        assert plan.artifacts[wire.LOCK_FILE] == b"locked"
        apply = server.add(apply_of(plan, working_directory="sub"))
        await server.until(lambda: apply.ended)
    assert apply.status == "applied"
    assert "apply -input=false" in apply.text


async def test_too_many_created_files_fail_the_plan(server: AgentServer, data: Path) -> None:
    limits = wire.Limits(created_files_bytes=10)
    steps = [["write", "made.zip", "made by the plan"]]
    plan = server.add(phase("plan", script(plan=steps), limits=limits))
    async with running(quick(data, server)):
        await server.until(lambda: plan.ended)
    assert plan.status == "errored"
    assert "more than the 10" in plan.text


async def test_states_are_sent_while_they_are_written_and_never_a_torn_one(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    steps = [["state", 1], ["wait", f"{tmp_path}/go"], ["torn-state"], ["exit", 1]]
    apply = server.add(apply_phase(script(apply=steps)))
    async with running(quick(data, server)):
        await server.until(lambda: apply.states)
        (tmp_path / "go").touch()
        await server.until(lambda: apply.ended)
    assert apply.status == "errored"
    # What was kept whole is not the last state, so the server is told and the folder stays.
    assert not apply.reports[-1].state_uploaded
    assert folders(data)
    assert [final for _, final in apply.states] == [False, True]
    assert apply.states[0][0] == apply.states[1][0]


async def test_a_refused_state_is_kept_and_offered_again(server: AgentServer, data: Path) -> None:
    apply = server.add(apply_phase(script(apply=[["state", 4]])))
    server.fault("state_put", "status", 422, times=2)  # one may meet an intermediate state
    settings = quick(data, server)
    async with running(settings):
        await server.until(lambda: apply.ended)
        assert not apply.reports[-1].state_uploaded
        await server.until(lambda: apply.recovered)
        await server.until(lambda: not folders(data))
    assert b'"serial": 4' in apply.recovered[0]


async def test_the_initial_state_is_found_under_the_name_of_the_workspace(
    server: AgentServer, data: Path
) -> None:
    state = b'{"version": 4, "serial": 2, "lineage": "l"}'
    apply = server.add(apply_phase(script(apply=[["exit", 0]]), state=state))
    async with running(quick(data, server)):
        await server.until(lambda: apply.ended)
    assert apply.status == "applied"
    assert apply.states == []  # nothing was changed, so nothing is sent


@pytest.mark.timeout(180)
async def test_many_runs_of_one_archive_each_work_in_their_own_folder(
    server: AgentServer, data: Path
) -> None:
    files: dict[str, str | bytes] = {"shared/common.txt": "for all"}
    for number in range(MANY):
        steps = [["shell", f"cat ../../shared/common.txt; echo; echo in folder {number}."]]
        steps += [["shell", f"test ! -e made && echo {number} > made && basename $PWD"]]
        files[f"stacks/s{number}/script.json"] = script(plan=steps)["script.json"]
    plans = [
        phase("plan", files, working_directory=f"stacks/s{number}", **_names(number))
        for number in range(MANY)
    ]
    async with running(quick(data, server, slots=4)):
        for plan in plans:
            plan.configuration = plans[0].configuration
            server.add(plan)
        await server.until(lambda: all(plan.ended for plan in plans), 150)
    assert {plan.status for plan in plans} == {"planned"}, [p.text for p in plans]
    for number, plan in enumerate(plans):
        assert "for all" in plan.text
        said = [line for line in plan.text.splitlines() if "in folder" in line]
        assert said == [f"in folder {number}."]
        assert f"s{number}" in plan.text.splitlines()


def _names(number: int) -> dict[str, Any]:
    """Of a run in a workspace of its own."""
    return {
        "run_id": f"run-{number}",
        "phase_id": f"plan-{number}",
        "workspace_id": f"ws-{number}",
        "workspace": f"stack-{number}",
    }


async def test_a_working_directory_must_be_there(server: AgentServer, data: Path) -> None:
    gone = server.add(phase("plan", script(), working_directory="gone"))
    out = server.add(phase("plan", script(), working_directory="../..", phase_id="plan-2"))
    async with running(quick(data, server)):
        await server.until(lambda: gone.ended and out.ended)
    assert "has no folder 'gone'" in gone.text
    assert "leaves the configuration" in out.text


async def test_a_certificate_of_another_authority_is_told(server: AgentServer, data: Path) -> None:
    who = await enroll.join(quick(data, server))
    csr = identities.certificate_request(who.key, who.name)
    changed = identities.Identity(
        **{
            **{name: getattr(who, name) for name in who.__struct_fields__},
            "certificate": pem(Authority("another").sign(csr)),
        }
    )
    client = Client(
        who.agent_url, identities.agent_context(data, changed), QUICK, Connectivity(), "l"
    )
    with pytest.raises(CertificateRefused, match="refuses our certificate"):
        await client.call(agent_protocol.HEARTBEAT, wire.Heartbeat())
    await client.close()


async def test_the_public_port_names_the_agent_port(server: AgentServer, data: Path) -> None:
    trust = identities.public_context(server.authority.pem)
    client = Client(server.url, trust, QUICK, Connectivity(), "l")
    with pytest.raises(RequestDenied, match=server.agent_url):
        await client.call(agent_protocol.HEARTBEAT, wire.Heartbeat())
    await client.close()


async def test_a_drain_by_the_server_pauses_and_resumes(server: AgentServer, data: Path) -> None:
    server.drain, server.every = True, 0.05
    async with running(quick(data, server)):
        await server.until(lambda: len(server.heartbeats) > 3)
        plan = server.add(phase("plan", script()))
        beats = len(server.heartbeats)
        await server.until(lambda: len(server.heartbeats) > beats + 3)
        assert plan.status == "pending"
        server.drain = False
        await server.until(lambda: plan.ended)


async def test_only_what_is_accepted_is_taken(server: AgentServer, data: Path) -> None:
    plan = server.add(phase("plan", script()))
    apply = server.add(apply_phase(script()))
    async with running(quick(data, server, accept=("apply",))):
        await server.until(lambda: apply.ended)
        await anyio.lowlevel.checkpoint()
    assert plan.status == "pending"
