"""What keeps runs from the agent and from each other on this machine: found out by trying."""

import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import anyio
from msgspec import Struct

from terrapod_agent.executors import bubblewrap, probe
from terrapod_agent.executors.base import Account, Command
from terrapod_agent.executors.local import LocalExecutor
from terrapod_agent.executors.users import Users
from terrapod_agent.settings import AgentSettings, named_files
from terrapod_agent.trouble import Failed
from terrapod_common import files

Mode = Literal["sandbox", "users", "none"]
_WORDS: dict[Mode, str] = {
    "sandbox": "each run has a sandbox",
    "users": "each run has a user id of its own, but no sandbox",
    "none": "runs are not isolated: one can read what this agent can, its key too",
}
_LOOK_EVERY = 0.02
_LONGEST = 20.0  # seconds for a trial start


class Isolation(Struct, frozen=True):
    """How runs are kept apart, and why not better."""

    mode: Mode
    executor: LocalExecutor
    why: str = ""

    def told(self) -> str:
        """It in one line."""
        return f"{_WORDS[self.mode]} ({self.why})" if self.why else _WORDS[self.mode]


async def choose(chosen: AgentSettings) -> Isolation:
    """The best that works here; :class:`Failed` when that is less than the settings ask for."""
    span = chosen.span() if os.geteuid() == 0 else None
    users = Users(*span) if span else None
    sandboxed, why = await _sandbox(chosen, users)
    if sandboxed is not None:
        return Isolation("sandbox", sandboxed)
    if chosen.sandbox == "on":
        raise Failed(f"the setting `sandbox` is `on`, but {why}")
    if users is not None:
        separate = LocalExecutor(chosen.waits.survivor, users=users)
        # The folders of runs lie in there, and their users have to get through.
        chosen.data_dir.chmod(0o711)
        if not (fault := await _fault(separate, chosen.data_dir)):
            return Isolation("users", separate, why)
        chosen.data_dir.chmod(0o700)
        why = f"{why}; no user ids: {fault}"
    return Isolation("none", LocalExecutor(chosen.waits.survivor), why)


async def _sandbox(chosen: AgentSettings, users: Users | None) -> tuple[LocalExecutor | None, str]:
    if chosen.sandbox == "off":
        return None, "the sandbox is switched off"
    found = bubblewrap.find()
    if isinstance(found, str):
        return None, found
    if os.geteuid() == 0 and users is None:
        return None, "root cannot have a sandbox without `run_uids`"
    reads = (*chosen.sandbox_reads, *named_files(chosen))
    executor = LocalExecutor(chosen.waits.survivor, sandbox=found, users=users, reads=reads)
    fault = await _fault(executor, chosen.data_dir)
    return (None, f"a sandbox does not work: {fault}") if fault else (executor, "")


async def _fault(executor: LocalExecutor, within: Path) -> str:
    """What a trial start shows to be wrong; nothing when all is as it has to be."""
    with _trial(within) as folder, _listening(folder) as address:
        place = folder / "place"
        place.mkdir(mode=0o700)
        secret = folder / "secret"
        files.replace(secret, b"of the agent")
        try:
            async with executor.admitted(place) as account:
                shell = ("/bin/sh", "-c", 'echo made > "$HOME/made"')
                said = await _end(executor, _command(folder, shell, account))
                if said or not (place / "made").exists():
                    return said or "a program cannot write into its own folder"
                return await _possible(executor, folder, account, (str(secret), address))
        except (Failed, OSError) as error:
            return str(error)


async def _possible(
    executor: LocalExecutor, folder: Path, account: Account | None, aims: tuple[str, str]
) -> str:
    uid = account.uid if account else 0
    python = (sys.executable, "-I", "-S", "-E", probe.__file__)
    if executor.sandboxed:
        places = {Path(probe.__file__), Path(sys.base_prefix), *_interpreter()}
        wanted = _command(folder, (*python, "0", *aims), account, tuple(places))
        return await _end(executor, wanted)
    # Such a user need not be able to start our Python, so that changes to it when it runs.
    with anyio.fail_after(_LONGEST):
        done = await anyio.run_process([*python, str(uid), *aims], check=False)
    return ", ".join(done.stdout.decode().splitlines()) if done.returncode else ""


def _interpreter() -> Iterator[Path]:
    path = Path(sys.executable)
    yield from (path, path.resolve())
    while path.is_symlink():
        path = path.parent / path.readlink()
        yield path


def _command(
    folder: Path, argv: tuple[str, ...], account: Account | None, reads: tuple[Path, ...] = ()
) -> Command:
    return Command(
        argv=argv,
        folder=folder / "place",
        environment={"PATH": os.defpath, "HOME": str(folder / "place")},
        output=folder / "said",
        errors=folder / "said",
        lock=folder / "lock",
        exit_file=folder / "exit",
        grace=1.0,
        account=account,
        writable=(folder / "place",),
        readable=reads,
    )


async def _end(executor: LocalExecutor, command: Command) -> str:
    running = await executor.start(command)
    try:
        with anyio.move_on_after(_LONGEST):
            ended = await running.wait()
            if ended.code == 0:
                return ""
            said = command.output.read_text(errors="replace").split("\n")
            return ", ".join(line for line in said if line) or ended.told()
        return "a trial start takes too long"
    finally:
        with anyio.CancelScope(shield=True):
            await running.close()


@contextmanager
def _trial(within: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=within, prefix="trial-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@contextmanager
def _listening(folder: Path) -> Iterator[str]:
    """A socket of the agent's; its path must be short, so it is not in the data directory."""
    with tempfile.TemporaryDirectory(prefix="terrapod-") as name:
        Path(name).chmod(0o711)
        with socket.socket(socket.AF_UNIX) as listening:
            address = f"{name}/socket"
            listening.bind(address)
            Path(address).chmod(0o600)
            listening.listen()
            yield address
