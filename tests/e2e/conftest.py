"""One server and one agent for each worker, and the command line in a folder for each test."""

import itertools
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from terrapod_control_plane.kernel.postgres.embedded import Embedded
from tests.kit.command_line import Backend, Cli
from tests.kit.stack import Agent, Server
from tests.kit.terraforms import real_terraform

_NUMBERS = itertools.count(1)

NewCli = Callable[..., Cli]
NewAgent = Callable[..., Agent]


# Every test runs with the terraform of the wheel, and with the one on PATH if there is one.
_ON_PATH = shutil.which("terraform")
_VERSIONS = ["carried", "on-path"] if _ON_PATH else ["carried"]


class Terraform(Struct, frozen=True):
    """A terraform that the cache holds too."""

    path: Path
    version: str


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(folder=tmp_path_factory.mktemp("server"))
    try:
        server.start()
        server.command("pools", "create", "main")
        yield server
    finally:
        server.stop()
        Embedded(server.data / "postgres").erase()


@pytest.fixture(scope="session")
def terraforms(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Terraform]:
    found = {"carried": real_terraform(tmp_path_factory.mktemp("bin"))}
    if _ON_PATH:
        found["on-path"] = Path(_ON_PATH)
    for path in found.values():
        server.command("cache", "import", str(path))
    return {name: Terraform(path, version_of(str(path))) for name, path in found.items()}


@pytest.fixture(params=_VERSIONS)
def terraform(request: pytest.FixtureRequest, terraforms: Mapping[str, Terraform]) -> Terraform:
    return terraforms[request.param]


def version_of(executable: str) -> str:
    """What a terraform says it is."""
    told = subprocess.run([executable, "version", "-json"], capture_output=True, check=True).stdout
    version: str = json.loads(told)["terraform_version"]
    return version


@pytest.fixture(scope="session")
def agent(
    server: Server,
    terraforms: Mapping[str, Terraform],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Agent]:
    agent = Agent(
        folder=tmp_path_factory.mktemp("agent"), server=server, name="main", pool="main", slots=2
    )
    agent.join()
    agent.start()
    yield agent
    agent.stop()


@pytest.fixture
def new_cli(server: Server, terraform: Terraform, tmp_path: Path) -> NewCli:
    """Command lines, each with a workspace of its own that is made before its first use."""

    def make(backend: Backend = "cloud", **attributes: Any) -> Cli:
        name = f"w{next(_NUMBERS)}"
        given = {"name": name, "terraform-version": terraform.version} | attributes
        body = {"data": {"type": "workspaces", "attributes": given}}
        server.api("POST", "organizations/default/workspaces", body)
        return Cli(
            folder=tmp_path / name,
            server=server,
            terraform=terraform.path,
            workspace=name,
            backend=backend,
        )

    return make


@pytest.fixture
def new_agent(server: Server, tmp_path: Path) -> Iterator[NewAgent]:
    """Agents that end with the test."""
    made: list[Agent] = []

    def make(pool: str, name: str) -> Agent:
        agent = Agent(folder=tmp_path / name, server=server, name=name, pool=pool)
        made.append(agent)
        agent.join()
        agent.start()
        return agent

    yield make
    for agent in made:
        agent.stop()


@pytest.fixture(params=["cloud", "remote"])
def backend(request: pytest.FixtureRequest) -> Backend:
    found: Backend = request.param
    return found
