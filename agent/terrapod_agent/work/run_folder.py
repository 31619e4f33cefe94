"""Where runs execute: ROOT/RUN-ID, which is the same for plan and apply, and on every agent.

A phase takes the folder of its run and gives it back; whoever finds one that another phase has
renames it aside first, to a name that this other phase knows. All of it happens under one lock,
for several agents of a machine may share a root.
"""

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import structlog

from terrapod_agent.errors import OperationFailed
from terrapod_common import files

log = structlog.get_logger()

_LOCK = ".lock"
_OWNER = ".owner"
_IDENTITY = "places.id"  # in the data directory
_ABANDONED_SECONDS = 3600.0


def usable_root(wanted: Path, otherwise: Path) -> Path:
    """The folder in which the runs of this agent have theirs.

    ``otherwise`` is taken where ``wanted`` cannot be made or written; it is not the same on every
    agent, so what was planned in it is applied only where it is the same.
    """
    for root in (wanted, otherwise):
        try:
            _make_root(root)
            with _locked(root):
                return root.resolve()
        except OSError as error:
            log.warning("runs cannot have their places here", folder=root, reason=error.strerror)
    raise OperationFailed(f"neither {wanted} nor {otherwise} can be made for runs")


class RunFolder:
    """The folder of one run, as one of its phases has it."""

    def __init__(self, root: Path, run_id: str, owner: Path) -> None:
        if not run_id or "/" in run_id or run_id.startswith("."):
            raise OperationFailed(f"this is no name of a run: {run_id!r}")
        self.root = root
        self.run_id = run_id
        self._owner = owner  # the phase's own folder, whose name no other phase has

    @property
    def path(self) -> Path:
        """Where it is; another one's folder of the same name is never meant."""
        current = self.root / self.run_id
        return current if _owner(current) == self._owner else self._aside(self._owner)

    @property
    def other_owner(self) -> Path | None:
        """The phase that has the folder at present, if it is another one."""
        found = _owner(self.root / self.run_id)
        return found if found != self._owner else None

    def acquire(self) -> Path:
        """Make it anew; what lies there is renamed aside, and its owner finds it there."""
        with _locked(self.root):
            current = self.root / self.run_id
            if current.exists():
                before = _owner(current)
                aside = self._aside(before) if before else _unused_name(current)
                aside = _unused_name(current) if aside.exists() else aside
                log.info("another phase's folder was put aside", folder=current, now=aside)
                _move(current, aside)
            _write_owner(current, self._owner)
            current.mkdir(mode=0o700)
        return current

    def release(self) -> None:
        """Remove it, or what was put aside of it."""
        with _locked(self.root):
            path = self.path
            if path.exists() and path == self.root / self.run_id:
                # Renamed under the lock: another phase may take it at once.
                _move(path, self._aside(self._owner))
            elif not path.exists():
                # The owner's mark was written, but the folder was not.
                _remove_owner(path)
        aside = self._aside(self._owner)
        files.remove_tree(aside)
        if not aside.exists():
            _remove_owner(aside)

    def _aside(self, owner: Path) -> Path:
        return self.root / f"{self.run_id}.{owner.name}"


def remove_abandoned(root: Path) -> None:
    """Remove run folders whose phase is gone for an hour, whatever agent of this machine had it.

    Where several containers share a root, a path in one of them means something else in another:
    only an agent that sees the very data directory of the phase can tell that it is gone.
    """
    with _locked(root):
        found = [path for path in root.iterdir() if path.is_dir() and _abandoned(path)]
        for number, path in enumerate(found):
            if "." not in path.name:  # the present folder of a run, which a phase may take
                found[number] = _unused_name(path)
                _move(path, found[number])
    for path in found:
        files.remove_tree(path)
        if not path.exists():
            _remove_owner(path)


def _abandoned(path: Path) -> bool:
    if time.time() - path.stat().st_mtime < _ABANDONED_SECONDS:
        return False
    try:
        owner, identity = _read_owner(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    # Only what is surely gone: an owner that we may not look at keeps what it has.
    try:
        return _identity(owner) == identity != "" and not owner.exists()
    except OSError:
        return False


def _make_root(root: Path) -> None:
    missing = [path for path in (root, *root.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        # A run that has a user of its own must get through to its folder, and see nothing else.
        path.chmod(0o711)


def _owner(path: Path) -> Path | None:
    try:
        return _read_owner(path)[0]
    except (FileNotFoundError, PermissionError):
        return None


def _read_owner(path: Path) -> tuple[Path, str]:
    """The owner of a folder, and the data directory that it is in."""
    owner, _, identity = _owner_file(path).read_text().partition("\n")
    return Path(owner), identity


def _write_owner(path: Path, owner: Path) -> None:
    # Durable, for after a power cut the state of an apply is found by it.
    identity = _identity(owner)
    if not identity:
        identity = secrets.token_hex(16)
        files.write_atomically(_data_dir(owner) / _IDENTITY, identity.encode())
    files.write_atomically(_owner_file(path), f"{owner}\n{identity}".encode())


def _identity(owner: Path) -> str:
    """What tells the data directory of a phase from any other of the same path."""
    try:
        return (_data_dir(owner) / _IDENTITY).read_text()
    except FileNotFoundError:
        return ""


def _data_dir(owner: Path) -> Path:
    return owner.parent.parent


def _remove_owner(path: Path) -> None:
    _owner_file(path).unlink(missing_ok=True)


def _move(path: Path, to: Path) -> None:
    # In this order: an owner that is cut off from its mark still finds what was put aside.
    path.rename(to)
    with contextlib.suppress(FileNotFoundError):
        _owner_file(path).rename(_owner_file(to))


def _owner_file(path: Path) -> Path:
    return path.with_name(path.name + _OWNER)


def _unused_name(path: Path) -> Path:
    numbers = (path.with_name(f"{path.name}.unknown.{number}") for number in range(10_000))
    return next(name for name in numbers if not name.exists())


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    descriptor = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
