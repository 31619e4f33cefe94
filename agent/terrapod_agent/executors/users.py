"""User ids that nobody else has: one for each run, so that the kernel keeps runs apart."""

import contextlib
import fcntl
import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from terrapod_agent.errors import OperationFailed
from terrapod_agent.executors import kernel
from terrapod_agent.executors.base import Account
from terrapod_common import files

LOCKS = Path("/run/terrapod-agent-users")  # of the machine, for all its agents
# Where everybody may write, so that a run can leave something for whoever has its number next.
OPEN_TO_ALL = tuple(map(Path, ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock")))  # noqa: S108 - looked through, not written to


class UserIds:
    """A range of user ids, each of which serves one run at a time on this machine."""

    def __init__(
        self, first: int, last: int, locks: Path = LOCKS, shared: Sequence[Path] = OPEN_TO_ALL
    ) -> None:
        self._ids = range(first, last + 1)
        self._locks = locks
        self._shared = shared

    @contextmanager
    def acquire(self, run_folder: Path) -> Iterator[Account]:
        """A free user id; the run's folder, with all that is in it, belongs to it meanwhile."""
        uid, descriptor = self._take()
        try:
            os.write(descriptor, os.fsencode(run_folder))
            self._sweep(uid)  # an agent that was killed had no time for it
            _give_tree(run_folder, uid)
            yield Account(uid)
        finally:
            # Its content stays with the number; nobody else's run may get at it through that.
            with contextlib.suppress(FileNotFoundError):
                if run_folder.lstat().st_uid == uid:  # it may be another phase's by now
                    run_folder.chmod(0o700)
                    os.chown(run_folder, 0, 0)
            self._sweep(uid)
            os.ftruncate(descriptor, 0)
            os.close(descriptor)

    def _sweep(self, uid: int) -> None:
        """Remove what belongs to this id where everybody may write."""
        for folder in self._shared:
            with contextlib.suppress(OSError):
                left = [entry for entry in os.scandir(folder) if _owner_uid(entry) == uid]
                for entry in left:
                    files.remove_tree(Path(entry.path))
                    with contextlib.suppress(OSError):
                        Path(entry.path).unlink(missing_ok=True)  # what was no folder

    def _take(self) -> tuple[int, int]:
        files.private_folder(self._locks)
        busy = _uids_in_use()
        for uid in self._ids:
            path = self._locks / str(uid)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            free = uid not in busy and not _has_account(uid)
            if free and _locked(descriptor) and not _still_in_use(descriptor, uid):
                return uid, descriptor
            os.close(descriptor)
        span = f"{self._ids[0]} to {self._ids[-1]}"
        raise OperationFailed(f"all user ids from {span} are in use by runs or have accounts")


def _owner_uid(entry: "os.DirEntry[str]") -> int | None:
    try:
        return entry.stat(follow_symlinks=False).st_uid
    except OSError:
        return None


def _has_account(uid: int) -> bool:
    """Whether somebody on this machine has this id, and files that are not of a run."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _uids_in_use() -> set[int]:
    found = set()
    for pid in kernel.processes():
        with contextlib.suppress(OSError):
            found.add(os.stat(f"/proc/{pid}").st_uid)  # noqa: PTH116 - one of many
    return found


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _still_in_use(descriptor: int, uid: int) -> bool:
    """Whether an agent that died has left a run folder that still belongs to this id."""
    try:
        size = os.fstat(descriptor).st_size
        run_folder = os.fsdecode(os.pread(descriptor, size, 0))
        if run_folder and Path(run_folder).lstat().st_uid == uid:
            return True
    except FileNotFoundError:
        pass
    os.ftruncate(descriptor, 0)
    return False


def _give_tree(run_folder: Path, uid: int) -> None:
    for folder, _, names in os.walk(run_folder, topdown=False):
        for name in names:
            os.chown(f"{folder}/{name}", uid, uid, follow_symlinks=False)
        for entry in os.scandir(folder):
            if entry.is_symlink():  # one that leads to a folder is not among the names
                os.chown(entry.path, uid, uid, follow_symlinks=False)
        os.chown(folder, uid, uid)
