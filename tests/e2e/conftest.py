"""One server and one agent for each worker, and the command line in a folder for each test."""

import itertools
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from terrapod_control_plane.kernel.postgres import Embedded
from tests.kit.command_line import Backend, Cli
from tests.kit.stack import Agent, Server
from tests.kit.terraforms import real_terraform

_NUMBERS = itertools.count(1)

NewCli = Callable[..., Cli]
NewAgent = Callable[..., Agent]


class Terraforms(Struct, frozen=True):
    """The terraforms that the cache holds."""

    carried: Path
    other: Path | None


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
def terraforms(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Terraforms:
    carried = real_terraform(tmp_path_factory.mktemp("bin"))
    server.command("cache", "import", str(carried))
    found = shutil.which("terraform")
    if found is None or _version(found) == _version(str(carried)):
        return Terraforms(carried, None)
    server.command("cache", "import", found)
    return Terraforms(carried, Path(found))


def _version(executable: str) -> str:
    told = subprocess.run([executable, "version", "-json"], capture_output=True, check=True).stdout
    version: str = json.loads(told)["terraform_version"]
    return version


@pytest.fixture(scope="session")
def agent(
    server: Server, terraforms: Terraforms, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Agent]:
    agent = Agent(
        folder=tmp_path_factory.mktemp("agent"), server=server, name="main", pool="main", slots=2
    )
    agent.join()
    agent.start()
    yield agent
    agent.stop()


@pytest.fixture
def new_cli(server: Server, terraforms: Terraforms, tmp_path: Path) -> NewCli:
    """Command lines, each with a workspace of its own that is made before its first use."""

    def make(backend: Backend = "cloud", terraform: Path | None = None, **attributes: Any) -> Cli:
        name = f"w{next(_NUMBERS)}"
        body = {"data": {"type": "workspaces", "attributes": {"name": name, **attributes}}}
        server.api("POST", "organizations/default/workspaces", body)
        return Cli(
            folder=tmp_path / name,
            server=server,
            terraform=terraform or terraforms.carried,
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
