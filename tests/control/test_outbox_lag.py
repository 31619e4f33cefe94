"""How far consumers are behind is seen, and the outbox keeps what they have still to read."""

from typing import Any

import pytest
import structlog

from terrapod_control_plane.health import jobs as housekeeping
from terrapod_control_plane.health.internal import LagWatch
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.consumers import Consumer, Delivery
from terrapod_control_plane.kernel.context import Context, system
from terrapod_control_plane.kernel.outbox_lag import lags
from terrapod_control_plane.settings import LoggingSettings, Settings
from tests.control.conftest import As
from tests.kit import factories
from tests.kit.consumers import NAME, Failing, Hearer, begin, emit, reading
from tests.kit.control import Client, Control

pytestmark = pytest.mark.anyio

DAY = 24 * 3600


async def things() -> list[str]:
    found = await db.rows("select payload from outbox where kind = 'thing.told' order by id")
    return [row["payload"]["thing"] for row in found]


async def test_how_far_a_consumer_is_behind_can_be_read(control: Control) -> None:
    await begin(control.services)
    await emit(control.services, "a", "b")
    control.clock.move(100)
    (lag,) = await lags()
    assert (lag.consumer, lag.behind, lag.dead_letters) == (NAME, 2, 0)
    assert 100 <= lag.age(control.clock.now()) < 160
    hearer = Failing("a")
    async with reading(control.services, hearer.consumer(attempts=1)):
        await hearer.come(2)
    (lag,) = await lags()
    assert (lag.behind, lag.age(control.clock.now()), lag.dead_letters) == (0, 0.0, 1)


async def test_a_late_consumer_is_told_once_again_when_it_has_doubled_and_when_it_is_not(
    control: Control,
) -> None:
    await begin(control.services)
    await emit(control.services, "a")
    watch, context = LagWatch(), system(control.services)
    with structlog.testing.capture_logs() as lines:
        for seconds in (10, 90, 10, 100, 10):
            control.clock.move(seconds)
            await watch.look(context)
        hearer = Hearer()
        async with reading(control.services, hearer.consumer()):
            await hearer.come(1)
        await watch.look(context)
        await watch.look(context)
    told = [line["event"] for line in lines if line.get("consumer") == NAME]
    assert told == ["a consumer is late", "a consumer is late", "a consumer has caught up"]


async def test_ready_names_consumers_that_are_late_or_have_given_up(
    control: Control, as_: As
) -> None:
    nobody = await as_("nobody")
    await begin(control.services)

    async def shown() -> Any:
        await LagWatch().look(system(control.services))
        answer = await nobody.http.get("/ready")
        assert answer.json()["status"] == "ready"
        return answer.json().get("consumers")

    assert await shown() is None
    await emit(control.services, "a")
    control.clock.move(30)
    assert await shown() is None
    control.clock.move(60)
    late = (await shown())[NAME]
    assert late.pop("oldest-seconds") >= 90
    assert late == {"behind": 1, "attempts": 0, "dead-letters": 0}
    hearer = Failing("a")
    async with reading(control.services, hearer.consumer(attempts=1)):
        await emit(control.services, "b")
        await hearer.come(2)
    about = {"behind": 0, "oldest-seconds": 0, "attempts": 0, "dead-letters": 1}
    assert await shown() == {NAME: about}
    await db.execute("delete from outbox_cursors")
    assert await shown() is None


async def test_what_a_consumer_has_not_read_is_kept(control: Control) -> None:
    await begin(control.services)
    context = system(control.services)
    await emit(control.services, "a", "b")
    control.clock.move(8 * DAY)
    await housekeeping.trim_outbox(context)
    assert await things() == ["a", "b"]
    hearer = Hearer()
    async with reading(control.services, hearer.consumer()):
        await hearer.come(2)
    await emit(control.services, "c")
    await housekeeping.trim_outbox(context)
    assert await things() == ["c"]


async def test_what_nobody_reads_for_very_long_is_dropped_with_a_word(control: Control) -> None:
    await begin(control.services)
    context = system(control.services)
    await emit(control.services, "a", "b")
    control.clock.move(29 * DAY)
    await emit(control.services, "c")
    with structlog.testing.capture_logs() as lines:
        await housekeeping.trim_outbox(context)
    assert await things() == ["c"]
    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert (line["event"], line["count"]) == (
        "events were dropped that a consumer had not read",
        2,
    )
    hearer = Hearer()
    async with reading(control.services, hearer.consumer()):
        await hearer.come(1)
    assert hearer.things == ["c"]


# --- the log --------------------------------------------------------------------------------------


def test_events_are_logged_unless_that_is_switched_off() -> None:
    def names(*, events: bool) -> list[str]:
        wanted = Settings(logging=LoggingSettings(events=events))
        return [one.name for one in housekeeping.consumers(wanted)]

    assert (names(events=True), names(events=False)) == (["log"], [])


async def test_the_log_has_a_line_for_each_event_and_no_words_of_people(
    control: Control, api: Client
) -> None:
    await begin(control.services)
    workspace = await factories.workspace(api, "hush-name")
    secret = {"key": "hush-key", "value": "hush-value", "category": "env", "sensitive": True}
    await api.post(f"/api/v2/workspaces/{workspace}/vars", {"type": "vars", "attributes": secret})
    hearer = Hearer()

    async def both(ctx: Context, delivery: Delivery) -> None:
        await housekeeping.write_event(ctx, delivery)
        if delivery.event.kind == "thing.told":
            await hearer.take(ctx, delivery)

    with structlog.testing.capture_logs() as lines:
        async with reading(control.services, Consumer(name=NAME, handle=both)):
            await emit(control.services, "last")
            await hearer.come(1)
    events = [line for line in lines if line["event"] == "event"]
    assert [line["kind"] for line in events] == [
        "workspace.created",
        "variable.created",
        "thing.told",
    ]
    made = events[0]
    assert (made["subject"], made["workspace"], made["log_level"]) == (
        workspace,
        workspace,
        "info",
    )
    assert made["actor"].startswith("user:user-")
    assert made["request_id"]
    assert "hush" not in str(events)
