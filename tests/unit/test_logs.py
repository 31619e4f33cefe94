"""What the log looks like: lines for machines and for people, and what stands in none of them."""

import json
import logging
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog

from terrapod_common import logs
from terrapod_common.settings import Secret

FORMATS: list[logs.Format] = ["json", "console"]
HIDDEN = "only-in-a-variable"

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leaves structlog and the root logger as they were; ours is put where theirs was."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    structlog.contextvars.clear_contextvars()
    yield
    structlog.contextvars.clear_contextvars()
    structlog.configure(**before)
    root.handlers, root.level = handlers, level


def objects(captured: Captured) -> list[dict[str, Any]]:
    """Standard error, an object a line; nothing goes to standard output."""
    told = captured.readouterr()
    assert told.out == ""
    return [json.loads(line) for line in told.err.splitlines()]


def break_down(password: str, sealed: Secret) -> None:
    raise RuntimeError(f"{len(password)} characters and {sealed} were no use")


def test_a_line_is_one_object_with_level_event_time_and_what_was_bound(capsys: Captured) -> None:
    logs.configure("json", "info")
    log = structlog.get_logger().bind(run="run-1")
    with structlog.contextvars.bound_contextvars(request_id="re-1"):
        log.info("run created", status="pending")
    log.warning("two\nlines")
    first, second = objects(capsys)
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "run created",
        "level": "info",
        "run": "run-1",
        "request_id": "re-1",
        "status": "pending",
    }
    assert (second["event"], second["level"]) == ("two\nlines", "warning")
    assert "request_id" not in second


def test_lines_of_libraries_look_the_same(capsys: Captured) -> None:
    logs.configure("json", "info")
    with structlog.contextvars.bound_contextvars(request_id="re-1"):
        logging.getLogger("some.library").warning("%s of %s", 1, 2)
    (line,) = objects(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "1 of 2", "level": "warning", "request_id": "re-1"}


@pytest.mark.parametrize("by", ["ours", "theirs"])
def test_an_error_is_one_object_with_its_trace(
    capsys: Captured, by: Literal["ours", "theirs"]
) -> None:
    logs.configure("json", "info")
    log = structlog.get_logger() if by == "ours" else logging.getLogger("some.library")
    try:
        break_down(HIDDEN, Secret(HIDDEN))
    except RuntimeError:
        log.exception("failed")
    (line,) = objects(capsys)
    assert (line["event"], line["level"]) == ("failed", "error")
    assert line["exception"].startswith("Traceback")
    assert "in break_down" in line["exception"]
    assert line["exception"].endswith("RuntimeError: 18 characters and *** were no use")


@pytest.mark.parametrize("format_", FORMATS)
def test_a_trace_shows_neither_variables_nor_secrets(
    capsys: Captured, format_: logs.Format
) -> None:
    logs.configure(format_, "debug")
    for log in (structlog.get_logger(), logging.getLogger("some.library")):
        try:
            break_down(HIDDEN, Secret(HIDDEN))
        except RuntimeError:
            log.exception("failed")
    told = capsys.readouterr().err
    assert told.count("in break_down") == 2
    assert HIDDEN not in told


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_what_is_below_the_level_is_not_told(
    capsys: Captured, format_: logs.Format, level: str, told: list[str]
) -> None:
    logs.configure(format_, level)
    log = structlog.get_logger()
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)(f"a line of {name}")
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "a line of" not in line] == []
    assert [name for name in told if any(f"a line of {name}" in line for line in lines)] == told
    assert len(lines) == len(told)


@pytest.mark.parametrize(("level", "told"), [("debug", ["warning", "error"]), ("error", ["error"])])
def test_of_libraries_no_more_than_warnings_is_told(
    capsys: Captured, level: str, told: list[str]
) -> None:
    logs.configure("json", level)
    log = logging.getLogger("some.library")
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("a line")
    assert [line["level"] for line in objects(capsys)] == told


def test_people_get_a_line_without_colours_where_there_is_no_terminal(capsys: Captured) -> None:
    logs.configure("console", "info")
    structlog.get_logger().bind(run="run-1").info("run created", status="pending")
    logging.getLogger("some.library").warning("slow")
    first, second = capsys.readouterr().err.splitlines()
    for part in ("[info", "run created", "run=run-1", "status=pending"):
        assert part in first
    assert "[warning" in second
    assert "slow" in second
    assert "\x1b" not in first + second


@pytest.mark.parametrize("format_", FORMATS)
def test_a_secret_that_is_bound_is_not_told(capsys: Captured, format_: logs.Format) -> None:
    logs.configure(format_, "info")
    structlog.get_logger().info("asked", sealed=Secret(HIDDEN), several=[Secret(HIDDEN)])
    told = capsys.readouterr().err
    assert "asked" in told
    assert HIDDEN not in told


@pytest.mark.parametrize("format_", FORMATS)
def test_the_trace_of_a_library_is_told_also_outside_of_its_handler(
    capsys: Captured, format_: logs.Format
) -> None:
    logs.configure(format_, "info")
    try:
        json.loads("{")
    except ValueError as error:
        kept = error
    logging.getLogger("library").error("it failed", exc_info=kept)
    told = capsys.readouterr().err
    assert "JSONDecodeError: Expecting property name" in told
