"""The clock that goes by the database's, between its readings and when one of them is off."""

from datetime import UTC, datetime, timedelta

import structlog

from terrapod_control_plane.kernel.database_clock import DatabaseClock, Reading

# Far from what the machine's clock says.
TOLD = datetime(2001, 1, 1, tzinfo=UTC)


class Monotonic:
    """Moved by hand."""

    def __init__(self) -> None:
        self.seconds = 50.0

    def __call__(self) -> float:
        return self.seconds


def test_without_a_reading_it_is_the_machines() -> None:
    assert abs(DatabaseClock().now() - datetime.now(UTC)) < timedelta(seconds=10)


def test_it_goes_on_from_what_the_database_told() -> None:
    since = Monotonic()
    clock = DatabaseClock(since)
    clock.take(Reading(TOLD, at=50.0, took=0.1))
    assert clock.now() == TOLD
    since.seconds += 90
    assert clock.now() == TOLD + timedelta(seconds=90)


def test_a_small_correction_is_made_without_a_word() -> None:
    since = Monotonic()
    clock = DatabaseClock(since)
    clock.take(Reading(TOLD, at=50.0, took=0.1))
    with structlog.testing.capture_logs() as lines:
        clock.take(Reading(TOLD + timedelta(seconds=0.5), at=50.0, took=0.1))
    assert clock.now() == TOLD + timedelta(seconds=0.5)
    assert lines == []


def test_a_jump_is_made_and_told() -> None:
    since = Monotonic()
    clock = DatabaseClock(since)
    with structlog.testing.capture_logs() as lines:
        clock.take(Reading(TOLD, at=50.0, took=0.1))
        since.seconds += 60
        clock.take(Reading(TOLD, at=110.0, took=0.1))
    assert clock.now() == TOLD
    assert [line["at_start"] for line in lines] == [True, False]
    assert lines[1]["seconds"] == -60.0


def test_an_answer_that_took_long_sets_it_only_when_nothing_else_has() -> None:
    clock = DatabaseClock(Monotonic())
    clock.take(Reading(TOLD, at=50.0, took=9.0))
    assert clock.now() == TOLD
    clock.take(Reading(TOLD + timedelta(seconds=4), at=50.0, took=9.0))
    assert clock.now() == TOLD
