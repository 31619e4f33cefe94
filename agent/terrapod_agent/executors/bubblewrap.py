"""The command line that runs a program in a sandbox of bubblewrap.

The root is empty but for what is listed: programs and libraries, some files of ``/etc``, and the
folders of the run, all under the paths that they have outside. The network is shared.
"""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from terrapod_agent.executors.base import Account, Command

_PROGRAMS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = (
    *("alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies"),
    *("gai.conf", "host.conf", "hostname", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d"),
    *("localtime", "mime.types", "nsswitch.conf", "pki", "protocols", "resolv.conf", "services"),
    *("ssl", "timezone"),
)
# Terraform is process 1 inside: what it leaves ends with it, and no process of its user can kill
# it. Its parent is bubblewrap itself, whose death interrupts it, and which needs CAP_KILL for
# that. The other three are for setpriv, which gives all of them up.
_NAMESPACES = (
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--as-pid-1",
)
_TO_CHANGE_USER = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_KILL")
# The descriptors are the shim's: 4 says that the death signal is set, 5 gives leave to go.
# The folder is entered by the run's own user: it may be closed to all others, bubblewrap too.
_GATE = 'cd "$0" && echo r >&4 && read -r go <&5 && exec "$@" 3>&- 4>&- 5<&-'
_TMP, _SHM = Path("/tmp"), "/dev/shm"  # noqa: S108 - of the sandbox
_SMALL = str(64 * 1024 * 1024)


class Bubblewrap(Struct, frozen=True):
    """The two programs that make a sandbox."""

    bwrap: str
    setpriv: str
    sizes: bool = True  # whether it can bound what is kept in memory: from 0.7 on, and not setuid

    def argv(self, command: Command, reads: tuple[Path, ...]) -> tuple[str, ...]:
        """``command`` inside a sandbox that shows ``reads`` and what the command itself lists."""
        own = [*_NAMESPACES, *_capabilities(command.account), *_system(), *_etc(command)]
        binds = dict.fromkeys((*reads, *command.readable), "--ro-bind")
        if _outside(program := Path(command.argv[0])):
            binds[program] = "--ro-bind"
        binds |= dict.fromkeys(command.writable, "--bind")
        own += self._scratch(command.temporary, binds)
        # Parents first, so that a folder in another one is not hidden by it.
        for path, how in sorted(binds.items()):
            own += _parents(path) if _outside(path) else []
            own += [how, str(path), str(path)]
        own += ["--remount-ro", "/", "--chdir", "/", "--info-fd", "3", "--"]
        gate = ("/bin/sh", "-c", _GATE, str(command.folder), *command.argv)
        return (self.bwrap, *own, self.setpriv, *_user(command.account), "--", *gate)

    def _scratch(self, temporary: Path | None, binds: Iterable[Path]) -> Iterator[str]:
        """Where everybody may write. What a run puts there is not to fill the memory."""
        size = ("--size", _SMALL) if self.sizes else ()
        small = ("--perms", "1777", *size, "--tmpfs")
        yield from (*small, _SHM, "--remount-ro", "/dev")
        # No folder may be made below what a run had before: it may have put links there.
        if temporary is None or any(path.is_relative_to(_TMP) for path in binds):
            yield from (*small, str(_TMP))
        else:
            yield from ("--bind", str(temporary), str(_TMP))


def find() -> Bubblewrap | str:
    """The programs, or the name of the one that is missing."""
    found = {name: shutil.which(name) for name in ("bwrap", "setpriv")}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        return f"{' and '.join(missing)} is not installed"
    bwrap = str(found["bwrap"])
    return Bubblewrap(bwrap, str(found["setpriv"]), sizes=_sizes(bwrap))


def _sizes(bwrap: str) -> bool:
    try:
        setuid = bool(Path(bwrap).stat().st_mode & stat.S_ISUID)
        said = subprocess.run([bwrap, "--help"], capture_output=True, check=False, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return False  # the trial start will tell what is wrong with it
    return b"--size" in said.stdout + said.stderr and not setuid


def account_files(command: Command) -> dict[Path, str]:
    """The files of names that a sandbox shows instead of the machine's: ssh looks its user up."""
    uid = command.account.uid if command.account else os.getuid()
    home = command.environment.get("HOME", "/")
    beside = command.lock.parent
    return {
        beside / "passwd": f"run:x:{uid}:{uid}:run:{home}:/bin/sh\n",
        beside / "group": f"run:x:{uid}:\n",
    }


def _capabilities(account: Account | None) -> Iterator[str]:
    yield from ("--cap-drop", "ALL")
    if account is None:
        yield "--unshare-user"
    else:
        for capability in _TO_CHANGE_USER:
            yield from ("--cap-add", capability)


def _system() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for path in map(Path, _PROGRAMS):
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.exists():
            yield from ("--ro-bind", str(path), str(path))
    yield from ("--proc", "/proc", "--dev", "/dev")


def _etc(command: Command) -> Iterator[str]:
    yield from ("--perms", "0755", "--dir", "/etc")
    for name in _ETC:
        # What is a link may lead to where nothing is inside, such as /run.
        if (path := Path("/etc", name)).exists():
            yield from ("--ro-bind", str(path.resolve()), str(path))
    for path in account_files(command):
        yield from ("--ro-bind", str(path), f"/etc/{path.name}")


def _parents(path: Path) -> Iterator[str]:
    for parent in reversed(path.parents[:-1]):
        yield from ("--perms", "0755", "--dir", str(parent))


def _outside(path: Path) -> bool:
    """Whether the folders above it have to be made first."""
    return not any(path.is_relative_to(there) for there in ("/usr", *_PROGRAMS))


def _user(account: Account | None) -> Iterator[str]:
    # A change of the user clears the death signal, so setpriv asks for it last, as it does.
    yield from ("--no-new-privs", "--pdeathsig", "INT")
    if account is not None:
        yield from ("--reuid", str(account.uid), "--regid", str(account.uid), "--clear-groups")
        yield from ("--inh-caps", "-all", "--ambient-caps", "-all", "--bounding-set", "-all")
