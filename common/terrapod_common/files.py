"""Files that survive a crash whole: written beside, synced, renamed."""

import errno
import os
import stat
import tempfile
from io import BufferedReader
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


def open_regular(path: Path) -> BufferedReader:
    """Open for reading what somebody else may have put there; only a regular file is opened.

    Neither a link is followed nor a pipe waited for: anything but a file is an :class:`OSError`.
    """
    descriptor = regular(path)
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


def regular(path: Path) -> int | None:
    """A descriptor of the regular file at ``path``; nothing when something else is there.

    Links are not followed, and what would wait for a writer, such as a pipe, is never waited for.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def content(path: Path, limit: int | None = None) -> bytes | None:
    """What is in the regular file at ``path``; nothing when it is none, or larger than that."""
    descriptor = regular(path)
    if descriptor is None:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if limit is not None and os.fstat(descriptor).st_size > limit:
            return None
        try:
            return file.read()
        except OSError:
            return None


def rewrite(path: Path, content: bytes) -> None:
    """Give the regular file at ``path`` another content; a link in its place is not followed."""
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "wb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "this is not a file that can be written", str(path))
        file.truncate()
        file.write(content)


def give(path: Path, *, like: Path) -> None:
    """Give ``path`` to whoever owns ``like``; nothing changes where that is ourselves."""
    owner = like.stat()
    if owner.st_uid != os.geteuid():
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
