"""Processes that read: what they are given, and what becomes of those that hang or end."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from terrapod_control_plane.kernel.readers import Memory, ReaderFailed, Readers, Unreadable
from tests.kit import readings

pytestmark = pytest.mark.anyio

HANGS = [sys.executable, "-c", "import signal; signal.pause()"]
ENDS = [sys.executable, "-c", ""]
Made = Callable[..., Readers]
# Hangs the first time that it is started, and is a reader from then on.
ONCE = """
import pathlib, runpy, signal, sys
flag = pathlib.Path(sys.argv.pop(1))
if not flag.exists():
    flag.touch()
    signal.pause()
runpy.run_module("terrapod_control_plane.kernel.reader", run_name="__main__")
"""


@pytest.fixture
def content() -> Iterator[Memory]:
    with Memory() as memory:
        memory.add(b"some ")
        memory.add(bytearray(b"bytes"))
        yield memory


@pytest.fixture
def made() -> Iterator[Made]:
    """Makes readers, and ends those that are left."""
    all_of_them: list[Readers] = []

    def make(**given: Any) -> Readers:
        all_of_them.append(Readers(1, **given))
        return all_of_them[-1]

    yield make
    for readers in all_of_them:
        readers.end()


_OTHERS: set[int] = set()  # processes that other tests of this worker have started


@pytest.fixture(autouse=True)
def others() -> Iterator[None]:
    _OTHERS.update(one.pid for one in psutil.Process().children())
    yield
    _OTHERS.clear()


def children() -> list[psutil.Process]:
    found = []
    for one in psutil.Process().children():
        if one.pid in _OTHERS:
            continue
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended in this moment
            if one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found


async def test_a_process_reads_exactly_what_was_added(content: Memory, made: Made) -> None:
    readers = made()
    assert await readers.read(readings.same, content, 30) == b"some bytes"
    (first,) = children()
    assert await readers.read(readings.size, content, 30) == b"10"
    assert children() == [first], "it is not started for each content"


async def test_a_refusal_is_told_and_the_process_goes_on(content: Memory, made: Made) -> None:
    readers = made()
    with pytest.raises(Unreadable, match="of 10 bytes I take none"):
        await readers.read(readings.refused, content, 30)
    assert await readers.read(readings.size, content, 30) == b"10"


async def test_a_process_without_work_ends(content: Memory, made: Made) -> None:
    readers = made(idle=0.1)
    assert await readers.read(readings.size, content, 30) == b"10"
    for one in children():
        one.wait(20)
    assert await readers.read(readings.size, content, 30) == b"10", "another one was started"
    for one in children():
        one.wait(20)


async def test_what_hangs_is_ended_and_its_place_is_free(content: Memory, made: Made) -> None:
    readers = made(program=HANGS)
    for _ in range(2):
        with pytest.raises(ReaderFailed), anyio.fail_after(20):
            await readers.read(readings.size, content, 0.2)
        for one in children():
            one.wait(20)


async def test_a_process_that_hung_is_replaced(content: Memory, made: Made, tmp_path: Path) -> None:
    readers = made(program=[sys.executable, "-c", ONCE, str(tmp_path / "flag")])
    assert await readers.read(readings.size, content, 5) == b"10"
    assert len(children()) == 1


async def test_a_process_that_is_stopped_later_is_replaced(content: Memory, made: Made) -> None:
    readers = made()
    assert await readers.read(readings.size, content, 30) == b"10"
    (first,) = children()
    os.kill(first.pid, signal.SIGSTOP)
    assert await readers.read(readings.size, content, 5) == b"10"
    (other,) = children()
    assert other != first


async def test_a_process_that_ends_at_once_is_told(content: Memory, made: Made) -> None:
    with pytest.raises(ReaderFailed):
        await made(program=ENDS).read(readings.size, content, 30)


async def test_where_no_process_can_be_started_is_told(content: Memory, made: Made) -> None:
    readers = made(program=["/nonexistent"])
    readers.warm()
    with pytest.raises(ReaderFailed, match="could be started"):
        await readers.read(readings.size, content, 30)


def test_a_memory_that_takes_nothing_is_told() -> None:
    memory = Memory()
    memory.close()
    with pytest.raises(ReaderFailed, match="no memory"):
        memory.add(b"x")
    assert memory.size == 0


async def test_who_leaves_ends_the_process_that_reads_for_them(content: Memory, made: Made) -> None:
    readers = made(program=HANGS)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(readers.read, readings.size, content, 60)
        with anyio.fail_after(20):
            while not children():
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    for one in children():
        one.wait(20)


async def test_a_process_gets_nothing_of_the_environment(
    content: Memory, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERRAPOD_SECRET", "x")
    found = await made().read(readings.environment, content, 30)
    assert b"PYTHONPATH" in found
    assert b"TERRAPOD" not in found
