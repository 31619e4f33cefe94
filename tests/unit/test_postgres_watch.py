"""A PostgreSQL that can't be started again is tried later and later, and each try is told."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
import structlog

from terrapod_common.loops import Backoff
from terrapod_control_plane.kernel.postgres.embedded import Embedded
from terrapod_control_plane.kernel.postgres.watch import Watch
from tests.kit.embedded import home_of, keep, kept

pytestmark = pytest.mark.anyio

_TRIES = 8


class Whole(Backoff, frozen=True):
    """Waits as long as it may, so that what is waited can be foreseen."""

    def delays(self) -> Iterator[float]:
        return self.waits()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Embedded]:
    server = Embedded(tmp_path / "data")
    yield server
    server.erase()


async def test_one_that_does_not_start_is_tried_with_growing_pauses_and_each_try_is_told(
    server: Embedded, tmp_path: Path
) -> None:
    dsn = server.start()
    await keep(dsn)
    cluster = home_of(tmp_path / "data") / "cluster"
    away = cluster.with_name("away")
    slept: list[float] = []
    told: list[str] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == _TRIES:
            away.rename(cluster)
        await anyio.lowlevel.checkpoint()

    watch = Watch(server, 60, told.append, backoff=Whole(first=0.2, longest=10), sleep=sleep)
    cluster.rename(away)
    os.kill(server.pid, signal.SIGKILL)
    with structlog.testing.capture_logs() as lines, anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch.keep)
            while lines[-1:] == [] or "runs again" not in lines[-1]["event"]:  # noqa: ASYNC110
                await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()
    assert slept == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
    failed = [line for line in lines if line["event"] == "PostgreSQL not started"]
    assert [line["retry_in"] for line in failed] == slept
    assert all("exit code" in line["reason"] for line in failed)
    assert len(told) == 1
    assert "signal SIGKILL" in told[0]
    assert await kept(dsn) == 42
