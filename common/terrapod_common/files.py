"""Files that survive a crash whole: written beside, synced, renamed."""

import contextlib
import ctypes
import errno
import fcntl
import itertools
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from io import BufferedReader, BufferedWriter
from pathlib import Path

_PUNCH_HOLE_KEEP_SIZE = 3


def write_atomically(path: Path, content: bytes, *, mode: int = 0o600) -> None:
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
    sync_folder(path.parent)


def open_regular(path: Path, below: Path | None = None) -> BufferedReader:
    """Open for reading what somebody else may have put there; only a regular file is opened.

    Neither a link is followed nor a pipe waited for: anything but a file is an :class:`OSError`.
    No folder between ``below`` and the file may be a link either.
    """
    descriptor = open_regular_fd(path, below)
    if descriptor is None:
        path.lstat()  # says so when nothing is there
        raise OSError(errno.EINVAL, "this is not a file that can be read", str(path))
    return os.fdopen(descriptor, "rb")


def write_new(path: Path, content: bytes) -> None:
    """Put ``content`` into a file that is not there yet; a power cut may lose it."""
    with open_new(path) as file:
        file.write(content)


def open_new(path: Path) -> BufferedWriter:
    """A file that is not there yet, open for writing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def remove_tree(path: Path) -> None:
    """Remove a folder with all that is in it, as far as it can be.

    However deep it is: what lies in a folder of it is first brought up, so nothing recurses. And
    whatever the modes of its folders are.
    """
    with contextlib.suppress(OSError):
        if os.geteuid() and not path.is_symlink():  # its owner may have closed it, even to itself
            path.chmod(0o700)
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _empty(top)
        finally:
            os.close(top)
        path.rmdir()


def _empty(top: int) -> None:
    os.fchmod(top, 0o700)
    names = (f".{secrets.token_hex(8)}" for _ in itertools.count())
    folders = list(_cleared(top))
    while folders:
        name = folders.pop()
        with contextlib.suppress(OSError):
            if os.geteuid():  # root needs no leave, and would follow a link that came just now
                os.chmod(name, 0o700, dir_fd=top)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
            try:
                for found in _cleared(inner):
                    up = next(names)
                    if os.geteuid():  # to move a folder takes leave to write to it
                        os.chmod(found, 0o700, dir_fd=inner)
                    os.rename(found, up, src_dir_fd=inner, dst_dir_fd=top)
                    folders.append(up)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=top)


def _cleared(folder: int) -> Iterator[str]:
    """Unlink all in a folder that is none itself; the names of those that are."""
    with os.scandir(folder) as entries:
        for name, is_folder in [(e.name, e.is_dir(follow_symlinks=False)) for e in entries]:
            if is_folder:
                yield name
                continue
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_folder(folder: Path) -> Path:
    """``folder``, made if need be, that nobody else can read; at most pass through, if so made."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o066:
        folder.chmod(0o700)
    return folder


def open_regular_fd(path: Path, below: Path | None = None) -> int | None:
    """A descriptor of the regular file at ``path``; nothing when something else is there.

    Links are not followed, and what would wait for a writer, such as a pipe, is never waited for.
    With ``below`` that holds for each folder between it and the file as well: whoever owns those
    could lead us elsewhere by a link in the place of a folder.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with _parent(path, below) as (folder, name):
            descriptor = os.open(name, flags, dir_fd=folder)
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def without_links(folder: Path, below: Path) -> bool:
    """Whether each step from ``below`` to ``folder`` is a folder, and no link to one."""
    try:
        with _parent(folder / "file", below):
            return True
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def _parent(path: Path, below: Path | None) -> Iterator[tuple[int | None, Path]]:
    """The folder of ``path``, reached from ``below`` without a link, and the name in it."""
    if below is None:
        yield None, path
        return
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    steps = path.parent.relative_to(below).parts
    folder = os.open(below, flags)
    try:
        for step in steps:
            before, folder = folder, os.open(step, flags, dir_fd=folder)
            os.close(before)
        yield folder, Path(path.name)
    finally:
        os.close(folder)


def read_regular(path: Path, limit: int | None = None, below: Path | None = None) -> bytes | None:
    """What is in the regular file at ``path``; nothing when it is none, or larger than that."""
    descriptor = open_regular_fd(path, below)
    if descriptor is None:
        return None
    with os.fdopen(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        if limit is not None and size > limit:
            return None
        try:
            return file.read() if limit is None else file.read(size)  # it may grow meanwhile
        except OSError:
            return None


def read_tail(path: Path, most: int) -> bytes:
    """The last bytes of the regular file at ``path``, at most so many; none when it is no file."""
    descriptor = open_regular_fd(path)
    if descriptor is None:
        return b""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(max(0, os.fstat(descriptor).st_size - most))
        return file.read(most)


def punch_hole(path: Path, start: int, end: int) -> bool:
    """Give the bytes from ``start`` to ``end`` back to the disk; they are zeros then.

    What others append meanwhile is not touched. False where that can't be done.
    """
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if fallocate is None:
        return False
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        place, length = ctypes.c_int64(start), ctypes.c_int64(end - start)
        return bool(fallocate(descriptor, _PUNCH_HOLE_KEEP_SIZE, place, length) == 0)
    finally:
        os.close(descriptor)


def overwrite(path: Path, content: bytes) -> None:
    """Give the regular file at ``path`` another content; a link in its place is not followed."""
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "wb") as file:
        found = os.fstat(file.fileno())
        # One with a second name may be somebody else's.
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise OSError(errno.EINVAL, "this is not a file that can be written", str(path))
        file.truncate()
        file.write(content)


def chown_like(path: Path, *, like: Path) -> None:
    """Give ``path`` to whoever owns ``like``; nothing changes where that is ourselves."""
    owner = like.stat()
    if owner.st_uid != os.geteuid():
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def is_locked(lock: Path) -> bool:
    """Whether some process holds the lock of a file (``flock``); of no file nobody does."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
