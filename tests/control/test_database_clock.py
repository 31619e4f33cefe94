"""Servers go by the clock of their database, whatever their own one says."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.bus import Bus
from terrapod_control_plane.kernel.database_clock import DatabaseClock
from tests.kit.control import Control
from tests.kit.hearing import until
from tests.kit.skew import clock_ahead
from tests.kit.stack import Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

NEAR = timedelta(seconds=30)


@pytest.fixture(params=[-5, 5])
def skewed(request: pytest.FixtureRequest, fresh: str, tmp_path: Path) -> Iterator[Server]:
    """A server whose clock is hours away from its database's."""
    settings = {"TERRAPOD_DATABASE__URL": fresh, **clock_ahead(request.param)}
    server = Server(folder=tmp_path, settings=settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def near(moment: str) -> bool:
    return abs(datetime.fromisoformat(moment) - datetime.now(UTC)) < NEAR


async def test_what_a_server_with_a_wrong_clock_says_is_right(skewed: Server) -> None:
    """Its certificate too: this process, whose clock is right, trusts it."""
    user = skewed.api("GET", "account/details")["data"]["id"]
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    attributes = {"description": "an hour", "expired-at": ends}
    body = {"data": {"type": "authentication-tokens", "attributes": attributes}}
    made = skewed.api("POST", f"users/{user}/authentication-tokens", body)["data"]
    assert near(made["attributes"]["created-at"])
    assert "the database's clock differs and counts" in skewed.log


async def test_it_is_read_again_when_the_bus_listens_anew(control: Control) -> None:
    ahead = 0.0
    clock, bus = DatabaseClock(lambda: time.monotonic() + ahead), Bus()
    await clock.measure()
    assert abs(clock.now() - await db.value("select clock_timestamp()")) < NEAR
    ahead = 3600.0  # as if this machine had gone wrong by an hour
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.keep, bus)
        await anyio.wait_all_tasks_blocked()
        assert clock.now() - datetime.now(UTC) > NEAR
        bus.wake_all()
        await until(lambda: clock.now() - datetime.now(UTC) < NEAR)
        tasks.cancel_scope.cancel()
