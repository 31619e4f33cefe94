"""Uploads whose client leaves half-way: nothing changes, and a second try works."""

import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from msgspec import Struct

from terrapod_control_plane.kernel import db
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio

TABLES = (
    "configuration_versions",
    "log_chunks",
    "phases",
    "runs",
    "state_excerpts",
    "state_versions",
    "workspaces",
)


class Left(Exception):
    """The client went away."""


class Upload(Struct):
    """A body, and who sends it where."""

    client: Client
    path: str
    body: bytes

    async def whole(self) -> httpx.Response:
        """Sends all of it."""
        return await self.client.call("PUT", self.path, content=self.body)

    async def half(self, beside: Client) -> None:
        """Announces all of it, sends half and is gone."""

        async def pieces() -> AsyncIterator[bytes]:
            yield self.body[: len(self.body) // 2]
            # Another answer of the same loop: the half has arrived by then.
            await beside.get("/api/v2/account/details")
            raise Left

        headers = {"content-length": str(len(self.body))}
        with pytest.raises(Left):
            await self.client.http.put(self.path, content=pieces(), headers=headers)
        await beside.get("/api/v2/account/details")


Prepare = Callable[[Client, Agent, str], Awaitable[Upload]]


def large_state() -> bytes:
    """A state that comes in many pieces."""
    outputs = {"noise": {"value": secrets.token_hex(400_000), "type": "string"}}
    return json.dumps(factories.STATE | {"outputs": outputs}).encode()


async def announced(api: Client, workspace: str, body: bytes) -> Any:
    given = {"serial": 1, "md5": hashlib.md5(body).hexdigest()}
    made = {"type": "state-versions", "attributes": given}
    return (await api.post(f"/api/v2/workspaces/{workspace}/state-versions", made))["data"]


async def state(api: Client, agent: Agent, workspace: str) -> Upload:
    body = large_state()
    made = await announced(api, workspace, body)
    return Upload(api, made["attributes"]["hosted-state-upload-url"], body)


async def state_by_id(api: Client, agent: Agent, workspace: str) -> Upload:
    body = large_state()
    made = await announced(api, workspace, body)
    return Upload(api, f"/api/v2/state-versions/{made['id']}/content", body)


async def configuration(api: Client, agent: Agent, workspace: str) -> Upload:
    _, url = await factories.upload_url(api, workspace)
    return Upload(api, url, factories.archive(**{"main.tf": secrets.token_hex(400_000)}))


async def planning(api: Client, agent: Agent, workspace: str) -> str:
    """Where things of a running plan go, and the fence."""
    await factories.run(api, workspace)
    work = await agent.claim("k")
    assert work is not None
    assert (await agent.report(work, "planning")).status_code == 200
    return f"{agent.at}/phases/{work['phase_id']}/{{}}?fence={work['fence']}&"


async def artifact(api: Client, agent: Agent, workspace: str) -> Upload:
    body = secrets.token_bytes(800_000)
    at = (await planning(api, agent, workspace)).format("artifacts/plan")
    return Upload(agent, f"{at}digest={hashlib.sha256(body).hexdigest()}", body)


async def log(api: Client, agent: Agent, workspace: str) -> Upload:
    at = (await planning(api, agent, workspace)).format("log")
    return Upload(agent, f"{at}offset=0", secrets.token_bytes(800_000))


async def state_of_an_apply(api: Client, agent: Agent, workspace: str) -> Upload:
    run = await factories.run(api, workspace)
    await factories.plans(agent)
    await api.post(f"/api/v2/runs/{run}/actions/apply")
    work = await factories.starts_apply(agent)
    path = f"{agent.at}/phases/{work['phase_id']}/state?fence={work['fence']}&final=true"
    return Upload(agent, path, large_state())


async def rows() -> list[dict[str, Any]]:
    return [
        dict(row)
        for table in TABLES
        for row in await db.rows(f"select * from {table} order by {table}::text")
    ]


def files(root: Path) -> set[Path]:
    """All blobs; what is still on its way lies beside them and is none."""
    found = {path for path in root.rglob("*") if path.is_file()}
    return {path for path in found if ".incoming" not in path.parts}


@pytest.fixture
def root(control: Control) -> Path:
    """Where the blobs are."""
    return control.services.settings.data_dir / "blobs"


@pytest.mark.parametrize(
    "prepare",
    [state, state_by_id, state_of_an_apply, configuration, artifact, log],
    ids=lambda prepare: prepare.__name__,
)
async def test_half_of_an_upload_changes_nothing_and_the_whole_is_taken(
    api: Client, listener: Agent, workspace: str, root: Path, prepare: Prepare
) -> None:
    upload = await prepare(api, listener, workspace)
    before, stored = await rows(), files(root)
    await upload.half(api)
    with anyio.fail_after(10):
        while any((root / ".incoming").iterdir()):
            await anyio.lowlevel.checkpoint()
    assert await rows() == before
    assert files(root) == stored
    answer = await upload.whole()
    assert answer.is_success, answer.text
    if prepare is log:
        assert answer.json() == {"offset": len(upload.body)}
    assert await rows() != before
    assert len(files(root)) == len(stored) + (prepare is not log)
