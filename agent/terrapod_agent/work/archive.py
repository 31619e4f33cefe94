"""Unpacks archives of strangers: nothing may come to lie, or point, outside of the folder."""

import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO

from terrapod_agent.errors import OperationFailed
from terrapod_common.tar_filter import objection

_MEMBERS = 1_000_000  # the server has looked at the archive, with limits of its own
_BLOCK = 1024 * 1024


def unpack(archive: Path, root: Path, limit: int) -> None:
    """Unpack a tar.gz below ``root``, or raise :class:`OperationFailed` with the reason."""
    try:
        with tarfile.open(archive, "r|gz") as tar:
            _unpack(tar, root.resolve(), limit)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise OperationFailed(f"the archive cannot be unpacked: {error}") from error


def _unpack(tar: tarfile.TarFile, root: Path, limit: int) -> None:
    left, links = limit, []
    for number, member in enumerate(tar):
        if number >= _MEMBERS:
            raise OperationFailed(f"the archive has more than {_MEMBERS} entries")
        if (target := _target(member.name, root)) is None:
            continue
        left -= member.size if member.isreg() else 0
        if left < 0:
            raise OperationFailed(f"the archive is larger than {limit} bytes when unpacked")
        if member.issym():
            links.append((member, target))
        else:
            _look_again(member, root)
        _put(tar, member, target, root)
    for member, link in links:  # where it leads is known once all are there
        if link_escapes(link, root):
            raise OperationFailed(
                f"the archive has a link that leaves it: {str(link.relative_to(root))!r}"
            )
        _look_again(member, root)


def _look_again(member: tarfile.TarInfo, root: Path) -> None:
    if why := objection(member, str(root)):
        raise OperationFailed(f"the archive has an entry that Python refuses: {why}")


def _target(name: str, root: Path) -> Path | None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise OperationFailed(f"the archive has an entry outside of its folder: {name!r}")
    if path == PurePosixPath("."):
        return None
    # A link that came earlier in the archive could lead out of it. The way is not followed to see
    # where it ends: a path can be too long to be looked at and still be walked by the kernel.
    for parent in list(path.parents)[:-1]:
        if (root / parent).is_symlink():
            raise OperationFailed(f"the archive has an entry behind a link: {name!r}")
    return root / path


def _put(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, root: Path) -> None:
    if member.isdir():
        if target.is_symlink():
            raise OperationFailed(f"the archive puts a folder over a link: {member.name!r}")
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        raise OperationFailed(f"the archive puts a file over a folder: {member.name!r}")
    target.unlink(missing_ok=True)
    if member.isreg():
        source = tar.extractfile(member)
        assert source is not None
        _write(source, target, 0o700 if member.mode & 0o100 else 0o600)
    elif member.issym():
        target.symlink_to(member.linkname)
    elif member.islnk():
        _hard_link(member, target, root)
    else:
        raise OperationFailed(f"the archive has a device or another special file: {member.name!r}")


def _write(source: IO[bytes], target: Path, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(target, flags, mode), "wb") as file:
        while block := source.read(_BLOCK):
            file.write(block)


def link_escapes(link: Path, root: Path) -> bool:
    """Whether a link leads out of ``root``, by way of whatever other links there are."""
    if not link.is_symlink():
        return False
    try:
        end = link.resolve(strict=True)
    except FileNotFoundError:  # it leads to nothing yet, and would lead there
        end = link.resolve()
    except (OSError, RuntimeError):  # links that lead to each other, or farther than can be seen
        return True
    return link.readlink().is_absolute() or not end.is_relative_to(root)


def _hard_link(member: tarfile.TarInfo, target: Path, root: Path) -> None:
    source = _target(member.linkname, root)
    if source is None or source.is_symlink() or not source.is_file():
        raise OperationFailed(f"the archive has a link to what it does not hold: {member.name!r}")
    os.link(source, target)
