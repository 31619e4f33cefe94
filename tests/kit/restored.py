"""A server that is set back: a workspace whose applies are counted outside of Terrapod."""

import shutil
from pathlib import Path
from typing import Any

import httpx

from terrapod_control_plane.kernel.postgres.embedded import Embedded
from tests.kit import factories
from tests.kit.backups import sealed
from tests.kit.embedded import home_of
from tests.kit.stack import Agent, Server, until

_FINAL = {"applied", "errored", "discarded", "canceled", "planned_and_finished"}
_COUNTED = """
resource "terraform_data" "counted" {{
  provisioner "local-exec" {{
    command = "echo applied >> {count}; until [ -e {gate} ]; do sleep 0.1; done"
  }}
}}
"""


class Scene:
    """One server after the other at the same address, one agent, one workspace."""

    def __init__(self, folder: Path, terraform: Path, version: str) -> None:
        self.folder = folder
        self.count = folder / "count"
        self.servers: list[Server] = []
        self.server = self._server("one", {})
        self.server.start()
        self.server.command("pools", "create", "main")
        self.server.command("cache", "import", str(terraform))
        self.agent = Agent(folder=folder / "agent", server=self.server, name="main", pool="main")
        self.agent.join()
        self.version = version
        self.workspace = self.new_workspace("app")

    def new_workspace(self, name: str) -> str:
        """A workspace of the agent's pool that applies what is planned; its id."""
        given = {"name": name, "terraform-version": self.version, "auto-apply": True}
        body = {"data": {"type": "workspaces", "attributes": given}}
        made = self.server.api("POST", "organizations/default/workspaces", body)
        id_: str = made["data"]["id"]
        return id_

    def end(self) -> None:
        """Stop everything and remove it."""
        self.agent.stop()
        for server in self.servers:
            server.stop()
            Embedded(server.data / "postgres").erase()

    def run(self, gate: Path | None = None) -> str:
        """A new run, whose apply leaves a line and goes on until there is this file."""
        text = _COUNTED.format(count=self.count, gate=gate or self.count)
        path = f"workspaces/{self.workspace}/configuration-versions"
        body = {
            "data": {"type": "configuration-versions", "attributes": {"auto-queue-runs": False}}
        }
        made = self.server.api("POST", path, body)["data"]
        with self.server.client() as client:
            sent = client.put(
                made["attributes"]["upload-url"], content=factories.archive(**{"main.tf": text})
            )
        assert sent.status_code == 200, sent.text
        made = self.server.api("POST", "runs", {"data": factories.new_run(self.workspace)})
        id_: str = made["data"]["id"]
        return id_

    def shown(self, run: str) -> dict[str, Any]:
        """What is told of a run."""
        found: dict[str, Any] = self.server.api("GET", f"runs/{run}")["data"]["attributes"]
        return found

    def until(self, run: str, *statuses: str) -> None:
        """Wait until a run is in one of these."""
        until(lambda: self.shown(run)["status"] in statuses, f"{run} is {statuses}")

    def ended(self, run: str) -> str:
        """How a run ended."""
        until(lambda: self.shown(run)["status"] in _FINAL, f"{run} has ended")
        return str(self.shown(run)["status"])

    def applied(self) -> int:
        """How often something was applied, as counted outside."""
        return self.count.read_text().count("applied") if self.count.exists() else 0

    def hold(self) -> str:
        """Why the workspace is on hold."""
        said = self.server.command("workspaces", "list")
        return said.partition("on hold")[2]

    def backup(self) -> Path:
        """An archive of now."""
        archive = self.folder / "archive"
        self.server.command("backup", str(archive), *map(str, sealed(self.folder)))
        return archive

    def restore(self, archive: Path, name: str = "two") -> None:
        """Another server at the same address, made from an archive; the one before is gone."""
        self.server.kill()
        self.server = self._server(
            name, {"port": self.server.port, "agent": self.server.agent_port}
        )
        self.server.command("restore", str(archive), *map(str, sealed(self.folder)))
        self.server.start()

    def copied(self) -> Path:
        """The cluster as it is now: the server is stopped for it."""
        self.server.stop()
        cluster = home_of(self.server.data / "postgres") / "cluster"
        copy = cluster.with_name("copy")
        shutil.copytree(cluster, copy, symlinks=True)
        _owned_like(cluster, copy)
        self.server.start()
        return copy

    def set_back(self, copy: Path) -> None:
        """Put an earlier cluster back under newer blobs."""
        self.server.stop()
        cluster = copy.with_name("cluster")
        shutil.rmtree(cluster)
        copy.rename(cluster)
        self.server.start()

    def recovery(self) -> dict[str, Any]:
        """Whether it is paused, and why."""
        found: dict[str, Any] = self.server.api("GET", "admin/recovery")["data"]["attributes"]
        return found

    def confirm(self, run: str) -> httpx.Response:
        """Try to let a plan be applied."""
        with self.server.client() as client:
            return client.post(f"/api/v2/runs/{run}/actions/apply", json={})

    def _server(self, name: str, ports: dict[str, int]) -> Server:
        server = Server(
            folder=self.folder / name,
            port=ports.get("port", 0),
            agent_port=ports.get("agent", 0),
        )
        self.servers.append(server)
        server.folder.mkdir()
        return server


def _owned_like(cluster: Path, copy: Path) -> None:
    owner = cluster.stat()
    for path in (copy, *copy.rglob("*")):
        shutil.chown(path, owner.st_uid, owner.st_gid)
