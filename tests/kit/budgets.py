"""Requests whose statements are counted: what each needs to be there, and how it is sent."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from tests.kit import factories
from tests.kit.control import Agent, Client, Control

Send = Callable[[], Awaitable[Any]]


class Scene(Struct, frozen=True, kw_only=True):
    """A workspace with a configuration, a person who may do all, an agent of the default pool."""

    control: Control
    api: Client
    agent: Agent
    ids: dict[str, str]  # and the name of the workspace

    @property
    def workspace(self) -> str:
        """The workspace's id."""
        return self.ids["workspace"]

    async def run(self) -> str:
        """A run whose plan waits for the agent."""
        return await factories.run(self.api, self.workspace)

    async def planned(self) -> str:
        """A run that waits for a person."""
        run = await self.run()
        await factories.plans(self.agent, run)
        return run

    async def confirmed(self) -> str:
        """A run whose apply waits for the agent."""
        run = await self.planned()
        await self.api.post(f"/api/v2/runs/{run}/actions/apply")
        return run

    async def applied(self) -> str:
        """A run that is over, and has left a state."""
        run = await self.confirmed()
        await factories.applies(self.agent, f"{run} apply")
        return run


Prepare = Callable[[Scene], Awaitable[Send]]


def gets(path: str) -> Prepare:
    """A request for something, as it is after a run; names in braces are filled in."""

    async def prepare(scene: Scene) -> Send:
        run = await scene.applied()
        ids = scene.ids | {"run": run}
        shown = (await scene.api.get(f"/api/v2/runs/{run}"))["data"]["relationships"]
        ids |= {name: shown[name]["data"]["id"] for name in ("plan", "apply")}
        if "{version}" in path:
            at = f"/api/v2/workspaces/{scene.workspace}/current-state-version"
            ids["version"] = (await scene.api.get(at))["data"]["id"]
        return lambda: scene.api.get(path.format(**ids))

    return prepare


async def ping(scene: Scene) -> Send:
    """Whether somebody is there."""
    return lambda: scene.api.get("/api/v2/ping")


async def discovery(scene: Scene) -> Send:
    """Which services there are."""
    return lambda: scene.api.get("/.well-known/terraform.json")


async def health(scene: Scene) -> Send:
    """Whether the process lives."""
    return lambda: scene.api.get("/health")


async def run_create(scene: Scene) -> Send:
    """A run of a workspace that is free."""
    return scene.run


async def confirm(scene: Scene) -> Send:
    """A person lets a plan be applied."""
    run = await scene.planned()
    return lambda: scene.api.post(f"/api/v2/runs/{run}/actions/apply")


def reports(status: str) -> Prepare:
    """The agent says how far it is."""

    async def prepare(scene: Scene) -> Send:
        agent, told = scene.agent, {"has_changes": True} if status == "planned" else {}
        if status in {"planning", "planned"}:
            work = await _claimed(scene, await scene.run())
        else:
            run = await scene.confirmed()
            work = await _claimed(scene, f"{run} apply")
        if status == "planned":
            await agent.report(work, "planning")
            for name in ("plan", "plan-json"):
                body = b"{}"
                digest = hashlib.sha256(body).hexdigest()
                await agent.send(work, f"artifacts/{name}", body, f"digest={digest}")
        if status == "applied":
            await agent.report(work, "applying")
            await agent.send(work, "state", factories.state(), "final=true")
        return lambda: agent.report(work, status, **told)

    return prepare


async def heartbeat(scene: Scene) -> Send:
    """An idle agent says that it is there."""
    return scene.agent.beat


async def next_without_work(scene: Scene) -> Send:
    """An agent asks for work, and there is none."""
    return lambda: scene.agent.claim("none")


async def next_with_work(scene: Scene) -> Send:
    """An agent asks for work and gets it."""
    run = await scene.run()
    return lambda: _claimed(scene, run)


async def log_chunk(scene: Scene) -> Send:
    """The agent sends a piece of a log."""
    work = await factories.starts_plan(scene.agent, await scene.run())
    return lambda: scene.agent.send(work, "log", b"a line\n", "offset=0")


async def state_upload(scene: Scene) -> Send:
    """The agent sends the last state of an apply."""
    run = await scene.confirmed()
    work = await factories.starts_apply(scene.agent, f"{run} apply")
    return lambda: scene.agent.send(work, "state", factories.state(), "final=true")


async def _claimed(scene: Scene, key: str) -> dict[str, Any]:
    work = await scene.agent.claim(key)
    assert work is not None
    return work
