"""A database that goes silent without a word keeps nobody waiting for ever."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import asyncpg
import pytest

from terrapod_control_plane.kernel import connecting
from tests.kit import factories
from tests.kit.proxy import BOTH, Proxy, Weather, by_way_of
from tests.kit.stack import Server, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

LONG = """
import anyio, sys
from terrapod_control_plane.kernel import db
async def main():
    await db.open_pool(sys.argv[1], size=1, answer_within=0.2)
    async with db.transaction():
        print(await db.execute_at_length("select pg_sleep(0.6)"))
    try:
        await db.execute("select pg_sleep(600)")
    except Exception as error:
        print(type(error).__name__)
    await db.close_pool()
anyio.run(main)
"""
SILENT = Weather(silent=BOTH)
# Well beyond what the limits add up to, on a busy machine.
SOON = 60


@pytest.fixture
def behind(fresh: str, between: Proxy) -> str:
    """The address of a database of its own, by way of that network."""
    return by_way_of(between, fresh)


@pytest.fixture
def far(behind: str, tmp_path: Path) -> Iterator[Server]:
    """A server on it."""
    settings = {
        "TERRAPOD_DATABASE__URL": behind,
        "TERRAPOD_DATABASE__ANSWER_SECONDS": "1",
        "TERRAPOD_DATABASE__POOL_SIZE": "3",
    }
    server = Server(folder=tmp_path, settings=settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def waiting_run(server: Server) -> str:
    """A run that waits for an agent."""
    attributes = {"name": "app", "execution-mode": "remote", "terraform-version": "1.9.0"}
    body = {"data": {"type": "workspaces", "attributes": attributes}}
    workspace = server.api("POST", "organizations/default/workspaces", body)["data"]["id"]
    body = {"data": {"type": "configuration-versions", "attributes": {"auto-queue-runs": False}}}
    made = server.api("POST", f"workspaces/{workspace}/configuration-versions", body)["data"]
    with server.client() as client:
        sent = client.put(made["attributes"]["upload-url"], content=factories.archive())
        assert sent.status_code == 200
    run: str = server.api("POST", "runs", {"data": factories.new_run(workspace)})["data"]["id"]
    return run


async def test_requests_are_answered_503_and_jobs_go_on_when_it_is_back(
    far: Server, between: Proxy, fresh: str
) -> None:
    """They once waited for ever, and so did each job, until the server was started again."""
    run = waiting_run(far)
    with far.client() as client:

        def ask() -> int:
            return client.get(f"/api/v2/runs/{run}").status_code

        assert ask() == 200
        between.weather(SILENT)
        assert [ask() for _ in range(5)] == [503] * 5
        until(lambda: client.get("/ready").status_code == 503, "not ready", SOON)
        until(lambda: "a loop waits" in far.log, "a job that is tried again", SOON)
        between.heal()
        until(lambda: client.get("/ready").status_code == 200, "ready again", SOON)
        until(lambda: ask() == 200, "an answer", SOON)
    direct = await asyncpg.connect(fresh)
    await direct.execute("update runs set changed_at = now() - interval '1 year'")
    await direct.close()
    shown = f"runs/{run}"
    until(lambda: far.api("GET", shown)["data"]["attributes"]["status"] == "errored", "it ends")
    assert far.process is not None
    assert far.process.poll() is None


async def test_a_pool_is_whole_again_when_all_its_connections_had_gone_silent(
    behind: str, between: Proxy
) -> None:
    async with connecting.ConnectionPool(behind, size=3, answer_within=0.5) as pool:
        await pool.execute("select 1")
        between.weather(SILENT)
        failed: list[str] = []

        async def ask() -> None:
            try:
                await pool.execute("select 1")
            except connecting.Unreachable as error:
                failed.append(str(error))

        with anyio.fail_after(SOON):
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(ask)
        assert len(failed) == 8
        between.heal()
        with anyio.fail_after(SOON):
            assert await pool.fetchval("select 1") == 1
        # All places are there: as many as it has are taken at once.
        taken = [await pool.acquire() for _ in range(3)]
        for connection in taken:
            await pool.release(connection)


async def test_a_statement_that_takes_too_long_is_ended_in_the_database_too(
    behind: str, fresh: str
) -> None:
    direct = await asyncpg.connect(fresh)
    async with connecting.ConnectionPool(behind, size=1, answer_within=0.5) as pool:
        with pytest.raises(asyncpg.QueryCanceledError):
            await pool.execute("select pg_sleep(600)")
        sleeping = "select count(*) from pg_stat_activity where query like '%pg_sleep(600)' "
        assert await direct.fetchval(f"{sleeping} and state = 'active'") == 0
        assert await pool.fetchval("select 1") == 1
    await direct.close()


async def test_what_is_known_to_take_long_may_do_so(fresh: str) -> None:
    """In a process of its own: the pool is the only one of a process."""
    ran = await anyio.run_process([sys.executable, "-c", LONG, fresh])
    assert ran.stdout.split() == [b"1", b"QueryCanceledError"]


async def test_both_ends_look_whether_the_other_is_there(behind: str) -> None:
    connection = await connecting.connect(behind)
    end = connection._transport.get_extra_info("socket")
    kept_alive = end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    gives_up = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    shown = await connection.fetchval("show tcp_keepalives_idle")
    await connection.close()
    assert kept_alive
    assert gives_up == 30_000
    assert shown in ("15", "0")  # 0 where the proxy comes to it by a socket of the file system
