"""Whether the disk has room for another phase; a full one takes no work and says so."""

import errno
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import anyio
import structlog

from terrapod_agent.slots import Slots
from terrapod_agent.work.dependencies import PhaseDependencies

log = structlog.get_logger()
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_MEGABYTE = 1024 * 1024


def describe_os_error(error: OSError) -> str:
    """What the machine has refused, in words for an operator."""
    where = f" ({error.filename})" if error.filename else ""
    return f"its disk is full{where}" if error.errno in _FULL else f"{error.strerror}{where}"


def shortage(folders: Iterable[Path], wanted: int) -> str:
    """Why nothing new can be written below these folders, or nothing."""
    for folder in folders:
        try:
            if found := _too_little(folder, wanted):
                return found
            # Quotas, used up inodes and read-only disks show only when something is written.
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"\0" * 4096)
        except OSError as error:
            return (
                f"{describe_os_error(error)}: {folder}"
                if error.filename is None
                else describe_os_error(error)
            )
    return ""


def _too_little(folder: Path, wanted: int) -> str:
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    if free >= wanted:
        return ""
    return (
        f"its disk is full: {free // _MEGABYTE} MB are free in {folder}, "
        f"{wanted // _MEGABYTE} MB have to be"
    )


async def check(deps: PhaseDependencies, slots: Slots) -> None:
    """Stop taking work where it could not be done, go on where it can be again."""
    folders = {deps.settings.data_dir, deps.phases, deps.runs}
    there = sorted(filter(Path.is_dir, folders))
    found = await anyio.to_thread.run_sync(shortage, there, deps.settings.free_bytes)
    if bool(found) == bool(slots.blocked_by):
        return  # a few bytes more or less are no news
    if found:
        log.error("taking no work", reason=found)
    else:
        log.info("taking work again")
    slots.block(found)


async def watch(deps: PhaseDependencies, slots: Slots) -> None:
    """Look now and then, for as long as the agent runs."""
    while True:
        await check(deps, slots)
        await anyio.sleep(deps.settings.waits.space)
