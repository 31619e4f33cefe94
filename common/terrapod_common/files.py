"""Files that survive a crash whole: written beside, synced, renamed."""

import contextlib
import errno
import os
import secrets
import stat
import tempfile
from io import BufferedReader
from itertools import islice
from pathlib import Path


def replace(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Put ``content`` at ``path`` in one step that a power cut cannot halve."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync(path.parent)


def open_regular(path: Path, within: Path | None = None) -> BufferedReader:
    """Open for reading what somebody else may have put there; only a regular file is opened.

    Neither a link is followed nor a pipe waited for: anything but a file is an :class:`OSError`.
    """
    descriptor = regular(path, within)
    if descriptor is None:
        path.lstat()  # says so when nothing is there
        raise OSError(errno.EINVAL, "this is not a file that can be read", str(path))
    return os.fdopen(descriptor, "rb")


def new(path: Path, content: bytes) -> None:
    """Put ``content`` into a file that is not there yet; a power cut may lose it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(content)


def sync(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private(folder: Path) -> Path:
    """``folder``, made if need be, that nobody else can read; at most pass through, if so made."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o066:
        folder.chmod(0o700)
    return folder


def regular(path: Path, within: Path | None = None) -> int | None:
    """A descriptor of the regular file at ``path``; nothing when something else is there.

    Links are not followed, and what would wait for a writer, such as a pipe, is never waited for.
    Whoever may write to ``within`` can put a link in the place of a folder there, too: then only
    what lies in it counts.
    """
    try:
        descriptor = _opened(path) if within is None else _beneath(path, within)
    except (OSError, RuntimeError, ValueError):  # also links that lead to each other, or out
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def _opened(path: Path | str, folder: int | None = None) -> int:
    safely = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(path, safely, dir_fd=folder)


def _beneath(path: Path, within: Path) -> int:
    # Where the links lead is found out first, and then gone to without following any: what was
    # put there meanwhile is an error.
    top = within.resolve()
    parts = (path.parent.resolve() / path.name).relative_to(top).parts
    descriptor = _opened(top)
    for part in parts:
        above = descriptor
        try:
            descriptor = _opened(part, above)
        finally:
            os.close(above)
    return descriptor


def content(path: Path, limit: int | None = None, within: Path | None = None) -> bytes | None:
    """What is in the regular file at ``path``; nothing when it is none, or larger than that."""
    descriptor = regular(path, within)
    if descriptor is None:
        return None
    with os.fdopen(descriptor, "rb") as file:
        try:
            found = file.read() if limit is None else file.read(limit + 1)
        except OSError:
            return None
    return found if limit is None or len(found) <= limit else None


def rewrite(path: Path, content: bytes) -> None:
    """Give the regular file at ``path`` another content; a link in its place is not followed."""
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "wb") as file:
        found = os.fstat(file.fileno())
        # One with a second name may be somebody else's.
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise OSError(errno.EINVAL, "this is not a file that can be written", str(path))
        file.truncate()
        file.write(content)


def give(path: Path, *, like: Path) -> None:
    """Give ``path`` to whoever owns ``like``; nothing changes where that is ourselves."""
    owner = like.stat()
    if owner.st_uid != os.geteuid():
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it, as far as that can be done.

    Neither how deep it is nor what its modes say keeps it: each folder in it comes up to the top
    before the one above it goes. Nobody may work in it any more.
    """
    try:
        _opened_up(str(folder), None)
        top = os.open(folder, _FOLDER)
    except OSError:
        return
    try:
        while any([_removed(top, name) for name in _some(top)]):  # noqa: C419 - all of them
            pass
    finally:
        os.close(top)
    with contextlib.suppress(OSError):
        folder.rmdir()


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _removed(top: int, name: str) -> bool:
    try:
        if not _opened_up(name, top):
            os.unlink(name, dir_fd=top)
            return True
        folder = os.open(name, _FOLDER, dir_fd=top)
        try:
            while some := _some(folder):
                for inner in some:
                    if _opened_up(inner, folder):
                        os.rename(inner, secrets.token_hex(16), src_dir_fd=folder, dst_dir_fd=top)
                    else:
                        os.unlink(inner, dir_fd=folder)
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=top)
    except OSError:
        return False
    return True


def _some(folder: int) -> list[str]:
    """Some of the names in a folder: of all of them there may be too many."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in islice(entries, 10_000)]


def _opened_up(name: str, within: int | None) -> bool:
    """Whether this is a folder; its owner may empty it then."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=within, follow_symlinks=False).st_mode):
        return False
    if os.geteuid():  # root needs no leave, and follows no link for it
        os.chmod(name, 0o700, dir_fd=within)
    return True
