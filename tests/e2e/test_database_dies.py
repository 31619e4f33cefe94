"""The embedded PostgreSQL dies under a server: it is started again, and nothing is lost."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from terrapod_control_plane.kernel.postgres.embedded import Embedded
from terrapod_control_plane.kernel.postgres.process import Address
from tests.e2e.conftest import NewAgent, NewCli, Terraform
from tests.e2e.test_breaks import SLOW_APPLY, Alone, configure, in_background, lines_of
from tests.kit.embedded import home_of, postmaster
from tests.kit.stack import Server, until

pytestmark = [pytest.mark.timeout(180), pytest.mark.anyio]


@contextmanager
def served(**settings: str) -> Iterator[Server]:
    """A server with a database of its own, where its user can reach it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = Server(folder=Path(folder), settings=settings)
        try:
            server.start()
            yield server
        finally:
            server.stop()
            Embedded(server.data / "postgres").erase()


@pytest.fixture
def own() -> Iterator[Server]:
    with served() as server:
        yield server


@pytest.fixture
def hasty() -> Iterator[Server]:
    """One that gives up soon."""
    with served(TERRAPOD_DATABASE__DEAD_AT_MOST_SECONDS="3") as server:
        yield server


def killed(server: Server) -> int:
    """The postmaster that was ended with -9."""
    pid = postmaster(server.data / "postgres")
    os.kill(pid, signal.SIGKILL)
    return pid


def ready(server: Server) -> int:
    """What `/ready` answers."""
    with server.client() as client:
        return client.get("/ready").status_code


@pytest.fixture
def terraform(terraforms: Mapping[str, Terraform]) -> Terraform:
    """One of them is enough here: nothing depends on the version."""
    return terraforms["carried"]


def test_a_killed_database_is_started_again_and_a_run_goes_on(
    server: Server, new_cli: NewCli, new_agent: NewAgent
) -> None:
    alone = Alone(server, new_cli, new_agent)
    alone.agent("outlives")
    configure(alone.cli, SLOW_APPLY.replace("COUNT", "80"))
    applying = in_background(lambda: alone.cli.run("apply", "-auto-approve"))
    alone.until_status("applying")
    until(lambda: "line-3" in alone.log("apply"), "three lines")
    killed_and_back(server)
    until(lambda: "line-30" in alone.log("apply"), "thirty lines")
    killed_and_back(server)
    alone.until_status("applied", "errored")
    assert alone.run()["status"] == "applied"
    assert lines_of(alone.log("apply")) == list(range(1, 81))
    assert alone.workspace()["hold"] is None
    assert server.log.count("the embedded PostgreSQL has ended") == 2
    assert "signal SIGKILL" in server.log
    applying.join(60)


def killed_and_back(server: Server) -> None:
    """Ends the postmaster, and waits for the next one."""
    before = killed(server)
    until(lambda: ready(server) == 503, "not ready")
    until(lambda: ready(server) == 200, "ready again")
    assert postmaster(server.data / "postgres") != before


def logged(server: Server) -> list[str]:
    """The workspaces of whose making the log of events tells, each once."""
    lines = [line for line in server.log.splitlines() if '"kind": "workspace.created"' in line]
    return list(dict.fromkeys(json.loads(line)["workspace"] for line in lines))


def test_nothing_that_was_answered_is_lost_and_the_gap_is_503(own: Server) -> None:
    names = []
    made = []
    statuses = set()
    with own.client() as client:
        for number in range(150):
            if number in (30, 90):
                until(lambda: ready(own) == 200, "ready")
                killed(own)
            attributes = {"name": f"w{number}", "execution-mode": "local"}
            body = {"data": {"type": "workspaces", "attributes": attributes}}
            answer = client.post("/api/v2/organizations/default/workspaces", json=body)
            statuses.add(answer.status_code)
            if answer.status_code == 201:
                names.append(f"w{number}")
                made.append(answer.json()["data"]["id"])
            assert client.get("/health").status_code == 200
        assert statuses == {201, 503}
        assert names
        until(lambda: ready(own) == 200, "ready again")
        for name in names:
            path = f"/api/v2/organizations/default/workspaces/{name}"
            assert client.get(path).status_code == 200, name
    # Consumers of events go on where they were, in their order.
    until(lambda: set(made) <= set(logged(own)), "every event is logged")
    assert [id_ for id_ in logged(own) if id_ in made] == made


def test_one_that_cannot_be_started_again_ends_the_server_with_a_reason(hasty: Server) -> None:
    cluster = home_of(hasty.data / "postgres") / "cluster"
    killed(hasty)
    cluster.rename(cluster.with_name("away"))
    assert hasty.process is not None
    assert hasty.process.wait(30) == 1
    tries = [line for line in hasty.log.splitlines() if "PostgreSQL not started" in line]
    assert len(tries) > 2
    assert all("exit code" in line and "retry_in" in line for line in tries), tries
    last = [line for line in hasty.log.splitlines() if line][-1]
    assert last.startswith("terrapod can't run: the embedded PostgreSQL ended and could not be")
    cluster.with_name("away").rename(cluster)
    hasty.start()
    assert ready(hasty) == 200


@pytest.fixture
def small() -> Iterator[Server]:
    """A server whose whole disk is small."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        mount = ["mount", "-t", "tmpfs", "-o", "size=200m,mode=755", "tmpfs", folder]
        subprocess.run(mount, check=True)
        server = Server(folder=Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()
            subprocess.run(["umount", "-l", folder], check=True)


async def fill_the_log(data: Path) -> None:
    """Makes PostgreSQL need new files for its write-ahead log."""
    address = Address(str(home_of(data) / "run"), 5432)
    password = (data / "postgres.password").read_text()
    try:
        connection = await asyncpg.connect(address.dsn(password))
        for _ in range(20):
            await connection.execute("select pg_logical_emit_message(true, 'x', repeat('x', 1000))")
            await connection.execute("select pg_switch_wal()")
        await connection.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return


@pytest.mark.needs("root")
async def test_a_full_disk_is_told_and_over_once_there_is_space(small: Server) -> None:
    balloon = small.folder / "balloon"
    with balloon.open("wb") as file:
        left = os.statvfs(small.folder)
        os.posix_fallocate(file.fileno(), 0, left.f_bavail * left.f_frsize)
    data = small.data / "postgres"
    await fill_the_log(data)
    until(lambda: ready(small) == 503, "not ready")
    with small.client() as client:
        assert client.get("/health").status_code == 200
    balloon.unlink()
    until(lambda: ready(small) == 200, "ready again")
    assert small.api("GET", "organizations/default")["data"]["id"] == "default"
