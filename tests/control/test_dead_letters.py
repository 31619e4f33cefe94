"""What a consumer fails at is tried again, given up after a limit, and tried when somebody says."""

import anyio
import anyio.lowlevel
import pytest
import structlog

from terrapod_common.loops import Backoff
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Services
from tests.kit.consumers import NAME, Failing, Hearer, Slow, begin, emit, newest, position, reading
from tests.kit.control import Control

pytestmark = pytest.mark.anyio

LETTERS = "select * from outbox_dead_letters order by event"


@pytest.fixture
async def services(control: Control) -> Services:
    await begin(control.services)
    return control.services


async def test_what_fails_is_tried_again_before_what_follows(services: Services) -> None:
    hearer = Failing("a")
    async with reading(services, hearer.consumer()):
        await emit(services, "a", "b")
        await hearer.come(4)
        assert set(hearer.things) == {"a"}
        hearer.fails_at = ""
        await hearer.until(lambda: "b" in hearer.things)
        await emit(services, "c")
        await hearer.until(lambda: "c" in hearer.things)
    assert hearer.things[-3:] == ["a", "b", "c"]
    assert await db.rows(LETTERS) == []
    assert await db.value("select attempts from outbox_cursors") == 0


async def test_what_fails_too_often_is_a_dead_letter_and_the_others_go_on(
    services: Services,
) -> None:
    hearer = Failing("b")
    with structlog.testing.capture_logs() as lines:
        async with reading(services, hearer.consumer(attempts=3)):
            await emit(services, "a", "b", "c")
            await hearer.until(lambda: "c" in hearer.things)
    assert hearer.things == ["a", "b", "b", "b", "c"]
    (letter,) = await db.rows(LETTERS)
    assert (letter["consumer"], letter["attempts"], letter["retry"]) == (NAME, 3, False)
    assert (letter["kind"], letter["payload"]) == ("thing.told", {"thing": "b"})
    assert letter["error"] == "ValueError: no luck with b"
    said = [(line["log_level"], line["event"]) for line in lines if line.get("consumer") == NAME]
    again = ("warning", "an event is tried again")
    assert said == [again, again, ("error", "an event is a dead letter")]
    assert await position() == await newest()


async def test_attempts_are_counted_on_by_the_next_process(
    services: Services, elsewhere: Services
) -> None:
    first, second = Failing("a"), Failing("a")
    await emit(services, "a", "b")
    async with reading(services, first.consumer(backoff=Backoff(first=1e6, longest=1e6))):
        await first.come(1)
        await until_failed(1)
    async with reading(elsewhere, second.consumer(attempts=2)):
        await second.until(lambda: "b" in second.things)
    assert second.things == ["a", "b"]


async def until_failed(attempts: int) -> None:
    with anyio.fail_after(20):
        while await db.value("select attempts from outbox_cursors") != attempts:
            await anyio.lowlevel.checkpoint()


async def test_an_attempt_has_a_limit_of_time(services: Services) -> None:
    hearer = Slow()
    async with reading(services, hearer.consumer(attempts=2, within=0.01)):
        await emit(services, "a", "b")
        await hearer.until(lambda: hearer.things.count("b") == 2)
    assert (await db.rows(LETTERS))[0]["error"].startswith("TimeoutError")


async def test_an_error_may_say_anything_at_any_length(services: Services) -> None:
    hearer = Babbling()
    with structlog.testing.capture_logs():
        async with reading(services, hearer.consumer(attempts=2)):
            await emit(services, "a", "b")
            await hearer.until(lambda: hearer.things.count("b") == 2)
    errors = [letter["error"] for letter in await db.rows(LETTERS)]
    assert errors[0].startswith("ValueError: \\udc80 x")
    assert len(errors[0]) < 3000


class Babbling(Hearer):
    """One whose errors no column takes as they are."""

    async def deed(self, thing: str) -> None:
        raise ValueError("\udc80\0 " + "x" * 5000)


async def test_a_dead_letter_is_tried_again_when_an_operator_says_so(services: Services) -> None:
    hearer = Failing("a")
    async with reading(services, hearer.consumer(attempts=1)):
        await emit(services, "a", "b")
        await hearer.come(2)
        retry = "update outbox_dead_letters set retry = true"
        await emit(services, "c")
        await hearer.come(3)
        await db.execute(retry)
        await emit(services, "d")
        await hearer.come(5)
        hearer.fails_at = ""
        await emit(services, "e")
        await hearer.come(6)
        assert (await db.rows(LETTERS))[0]["attempts"] == 2
        await db.execute(retry)
        await emit(services, "f")
        await hearer.come(8)
    # Whether a letter or what has just happened comes first is left to when they are looked at.
    assert [one for one in hearer.things if one != "a"] == ["b", "c", "d", "e", "f"]
    assert hearer.things.count("a") == 3
    assert await db.rows(LETTERS) == []


@pytest.mark.parametrize(
    ("kind", "payload", "letters"), [("thing.of-old", "{}", 0), ("thing.told", '{"other": 1}', 1)]
)
async def test_what_is_not_understood_stops_nobody(
    services: Services, kind: str, payload: str, letters: int
) -> None:
    hearer = Hearer()
    insert = "insert into outbox (kind, payload, at) values ($1, $2, now())"
    await db.execute(insert, kind, payload)
    async with reading(services, hearer.consumer(attempts=2)):
        await emit(services, "next")
        await hearer.come(1)
    assert hearer.things == ["next"]
    assert len(await db.rows(LETTERS)) == letters
