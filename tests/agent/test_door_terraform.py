"""A real terraform at its door: under a name that resolves nowhere, with nothing set."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from terrapod_agent import enroll
from terrapod_common import wire
from tests.kit.agent_records import PhaseRecord
from tests.kit.agent_server import AgentServer
from tests.kit.agent_sharing import NETWORK, STATE, VERSION
from tests.kit.agents import phase, quick, running
from tests.kit.asgi import Answer
from tests.kit.doors import PublicPort
from tests.kit.terraforms import real_terraform

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

HOST = "terrapod.invalid"
READING = """
data "terraform_remote_state" "network" {
  backend = "remote"
  config = {
    hostname     = "terrapod.invalid"
    organization = "default"
    workspaces   = { name = "NAME" }
  }
}
output "address" { value = "at ${data.terraform_remote_state.network.outputs.address}" }
"""
JSON_API = {"content-type": "application/vnd.api+json"}


@pytest.fixture
def tool(server: AgentServer, tmp_path: Path) -> None:
    server.tools["terraform/1.15.5"] = real_terraform(tmp_path / "tool").read_bytes()


@pytest.fixture
async def public(server: AgentServer) -> AsyncIterator[PublicPort]:
    async with PublicPort().up(server) as port:
        yield port


def reads(name: str, *variables: wire.RunVariable) -> PhaseRecord:
    """A plan that reads the outputs of a workspace."""
    files: dict[str, str | bytes] = {"main.tf": READING.replace("NAME", name)}
    return phase("plan", files, hosts=[HOST], variables=list(variables))


async def test_the_real_name_leads_to_the_door(server: AgentServer, data: Path, tool: None) -> None:
    plan = server.add(reads("network"))
    async with running(quick(data, server)):
        await server.until(lambda: plan.ended, 60)
    assert plan.status == "planned", plan.text
    assert "at 10.0.0.1" in plan.text


async def test_a_refusal_stands_in_the_log(server: AgentServer, data: Path, tool: None) -> None:
    plan = server.add(reads("secret"))
    async with running(quick(data, server)):
        await server.until(lambda: plan.ended, 60)
    assert plan.status == "errored"
    assert "The workspace secret does not share its state with web." in plan.text


async def test_a_token_in_the_environment_is_the_user_s_choice(
    server: AgentServer, data: Path, tool: None, public: PublicPort
) -> None:
    download = f"https://{HOST}/api/v2/state-download/abc"
    attributes = {"serial": 3, "hosted-state-download-url": download}
    documents = {
        "/api/v2/organizations/default/entitlement-set": _resource("entitlement-sets", "default"),
        "/api/v2/organizations/default/workspaces/secret": _resource("workspaces", NETWORK),
        f"/api/v2/workspaces/{NETWORK}/current-state-version": _resource(
            "state-versions", VERSION, **attributes
        ),
    }
    public.answers = {path: Answer(200, body, JSON_API) for path, body in documents.items()}
    state = msgspec.json.encode(STATE)
    public.answers["/api/v2/state-download/abc"] = Answer(
        200, state, {"content-type": "application/json"}
    )
    public.answers["/api/v2/ping"] = Answer(204, b"", {"tfp-api-version": "2.6"})
    token = wire.RunVariable(
        key="TF_TOKEN_terrapod_invalid", value="a-token-of-the-user", category="env", sensitive=True
    )
    settings = quick(data, server)
    identity = msgspec.structs.replace(await enroll.join(settings), server_url=public.url)
    plan = server.add(reads("secret", token))
    async with running(settings, identity):
        await server.until(lambda: plan.ended, 60)
    assert plan.status == "planned", plan.text
    assert "at 10.0.0.1" in plan.text
    assert {asked.headers["authorization"] for asked in public.seen} == {
        "Bearer a-token-of-the-user"
    }
    assert {peer.certificate for peer in public.peers} == {b""}
    assert not server.asked


def _resource(kind: str, id_: str, **attributes: object) -> bytes:
    return msgspec.json.encode({"data": {"id": id_, "type": kind, "attributes": attributes}})
