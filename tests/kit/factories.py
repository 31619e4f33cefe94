"""What tests of the control plane start from: workspaces, configurations, runs, agents' deeds."""

import base64
import gzip
import hashlib
import io
import json
import tarfile
from typing import Any

from tests.kit.control import Agent, Client

STATE = {
    "version": 4,
    "terraform_version": "1.9.0",
    "serial": 1,
    "lineage": "00000000-0000-0000-0000-000000000001",
    "outputs": {},
    "resources": [],
}


def archive(**files: str) -> bytes:
    """A tar.gz of files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in (files or {"main.tf": "# empty"}).items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(packed.getvalue())


def state(serial: int = 1) -> bytes:
    """A state that terraform could have written."""
    return json.dumps(STATE | {"serial": serial}).encode()


async def pushes(api: Client, workspace_id: str, serial: int) -> None:
    """A person stores a state, as `terraform state push` does."""
    body, path = state(serial), f"/api/v2/workspaces/{workspace_id}"
    given = {"serial": serial, "md5": hashlib.md5(body).hexdigest(), "lineage": STATE["lineage"]}
    given["state"] = base64.b64encode(body).decode()
    await api.post(f"{path}/actions/lock", {})
    await api.post(f"{path}/state-versions", {"type": "state-versions", "attributes": given})
    await api.post(f"{path}/actions/unlock")


async def workspace(api: Client, name: str = "app", **attributes: Any) -> str:
    """A workspace's id."""
    given = {"name": name, "terraform-version": "1.9.0"} | attributes
    made = await api.post(
        "/api/v2/organizations/default/workspaces", {"type": "workspaces", "attributes": given}
    )
    id_: str = made["data"]["id"]
    return id_


async def pool(api: Client, name: str = "pool") -> str:
    """An agent pool's id."""
    made = await api.post(
        "/api/v2/organizations/default/agent-pools",
        {"type": "agent-pools", "attributes": {"name": name}},
    )
    id_: str = made["data"]["id"]
    return id_


async def upload_url(api: Client, workspace_id: str, **attributes: Any) -> tuple[str, str]:
    """A configuration's id, and where its archive goes."""
    given = {"auto-queue-runs": False} | attributes
    made = await api.post(
        f"/api/v2/workspaces/{workspace_id}/configuration-versions",
        {"type": "configuration-versions", "attributes": given},
    )
    return made["data"]["id"], made["data"]["attributes"]["upload-url"]


async def configuration(api: Client, workspace_id: str, **attributes: Any) -> str:
    """An uploaded configuration's id."""
    id_, url = await upload_url(api, workspace_id, **attributes)
    answer = await api.call("PUT", url, content=archive())
    assert answer.status_code == 200, answer.text
    return id_


def new_run(workspace_id: str, configuration_id: str | None = None, **given: Any) -> Any:
    """What a run is asked for with."""
    related: dict[str, Any] = {"workspace": {"data": {"type": "workspaces", "id": workspace_id}}}
    if configuration_id is not None:
        linked = {"type": "configuration-versions", "id": configuration_id}
        related["configuration-version"] = {"data": linked}
    return {"type": "runs", "attributes": given, "relationships": related}


async def run(api: Client, workspace_id: str, **given: Any) -> str:
    """A run's id, of the workspace's latest configuration."""
    made = await api.post("/api/v2/runs", new_run(workspace_id, **given))
    id_: str = made["data"]["id"]
    return id_


async def starts_plan(agent: Agent, key: str = "plan") -> dict[str, Any]:
    """The agent claims a plan and starts it."""
    work = await agent.claim(key, "plan")
    assert work is not None
    assert (await agent.report(work, "planning")).status_code == 200
    return work


async def leaves_plan(agent: Agent) -> dict[str, Any]:
    """The agent starts a plan and sends its file, and is heard of no more."""
    work, body = await starts_plan(agent, "lost"), b"of before"
    digest = hashlib.sha256(body).hexdigest()
    sent = await agent.send(work, "artifacts/plan", body, f"digest={digest}")
    assert sent.status_code == 200
    return work


async def plans(agent: Agent, key: str = "plan", *, has_changes: bool = True) -> dict[str, Any]:
    """The agent claims a plan and brings it to its end."""
    work = await starts_plan(agent, key)
    await ends_plan(agent, work, has_changes=has_changes)
    return work


async def ends_plan(
    agent: Agent, work: dict[str, Any], *, has_changes: bool = True, **said: Any
) -> None:
    """The agent brings a plan to its end."""
    for name in ("plan", "plan-json"):
        body = b"{}"
        digest = hashlib.sha256(body).hexdigest()
        sent = await agent.send(work, f"artifacts/{name}", body, f"digest={digest}")
        assert sent.status_code == 200, sent.text
    ended = await agent.report(work, "planned", has_changes=has_changes, additions=1, **said)
    assert ended.status_code == 200, ended.text


async def starts_apply(agent: Agent, key: str = "apply") -> dict[str, Any]:
    """The agent claims an apply and starts it."""
    work = await agent.claim(key, "apply")
    assert work is not None
    assert (await agent.report(work, "applying")).status_code == 200
    return work


async def applies(agent: Agent, key: str = "apply") -> dict[str, Any]:
    """The agent claims an apply and brings it to its end."""
    work = await starts_apply(agent, key)
    sent = await agent.send(work, "state", state(), "final=true")
    assert sent.status_code == 200, sent.text
    assert (await agent.report(work, "applied")).status_code == 200
    return work
