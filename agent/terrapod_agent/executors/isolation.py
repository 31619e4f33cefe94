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
import msgspec
from msgspec import Struct

from terrapod_agent.errors import OperationFailed
from terrapod_agent.executors import bubblewrap, probe
from terrapod_agent.executors.base import Account, Command
from terrapod_agent.executors.local import LocalExecutor
from terrapod_agent.executors.users import UserIds
from terrapod_agent.settings import AgentSettings, inherited_files
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

    def describe(self) -> str:
        """It in one line."""
        return f"{_WORDS[self.mode]} ({self.why})" if self.why else _WORDS[self.mode]


async def choose(chosen: AgentSettings, root: Path) -> Isolation:
    """The best that works for runs with folders in ``root``.

    :class:`OperationFailed` when that is less than the settings ask for.
    """
    span = chosen.uid_range() if os.geteuid() == 0 else None
    users = UserIds(*span) if span else None
    sandboxed, why = await _sandbox(chosen, users, root)
    if sandboxed is not None:
        return Isolation("sandbox", sandboxed)
    if chosen.sandbox == "on":
        raise OperationFailed(f"the setting `sandbox` is `on`, but {why}")
    if users is not None:
        separate = LocalExecutor(chosen.waits.survivor, users=users)
        if not (fault := await _trial_error(separate, chosen.data_dir, root)):
            return Isolation("users", separate, why)
        why = f"{why}; no user ids: {fault}"
    return Isolation("none", LocalExecutor(chosen.waits.survivor), why)


async def _sandbox(
    chosen: AgentSettings, users: UserIds | None, root: Path
) -> tuple[LocalExecutor | None, str]:
    if chosen.sandbox == "off":
        return None, "the sandbox is switched off"
    found = bubblewrap.find()
    if isinstance(found, str):
        return None, found
    if os.geteuid() == 0 and users is None:
        return None, "root cannot have a sandbox without `run_uids`"
    reads = (*chosen.sandbox_reads, *inherited_files(chosen))
    executor = LocalExecutor(chosen.waits.survivor, sandbox=found, users=users, reads=reads)
    fault = await _trial_error(executor, chosen.data_dir, root)
    return (None, f"a sandbox does not work: {fault}") if fault else (executor, "")


async def _trial_error(executor: LocalExecutor, data_dir: Path, root: Path) -> str:
    """What a trial start shows to be wrong; nothing when all is as it has to be."""
    with (
        _trial_folder(data_dir) as folder,
        _trial_folder(root) as run_folder,
        _trial_socket() as address,
    ):
        secret = folder / "secret"
        files.write_atomically(secret, b"of the agent")
        try:
            async with executor.account_for(run_folder) as account:
                shell = ("/bin/sh", "-c", 'echo made > "$HOME/made"')
                said = await _trial_output(
                    executor, _trial_command(folder, run_folder, shell, account)
                )
                if said or not (run_folder / "made").exists():
                    return said or "a program cannot write into its own folder"
                return await _trial_escapes(
                    executor, _trial_command(folder, run_folder, (), account), secret, address
                )
        except (OperationFailed, OSError) as error:
            return str(error)


async def _trial_escapes(
    executor: LocalExecutor, command: Command, secret: Path, address: str
) -> str:
    uid = command.account.uid if command.account else 0
    python = (sys.executable, "-I", "-S", "-E", probe.__file__)
    aims = (str(secret), address)
    if executor.sandboxed:
        reads = (Path(probe.__file__), Path(sys.base_prefix), *_interpreter())
        argv = (*python, "0", *aims)
        return await _trial_output(
            executor, msgspec.structs.replace(command, argv=argv, readable=reads)
        )
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


def _trial_command(
    folder: Path, run_folder: Path, argv: tuple[str, ...], account: Account | None
) -> Command:
    return Command(
        argv=argv,
        folder=run_folder,
        environment={"PATH": os.defpath, "HOME": str(run_folder)},
        output=folder / "said",
        errors=folder / "said",
        lock=folder / "lock",
        exit_file=folder / "exit",
        grace=1.0,
        account=account,
        writable=(run_folder,),
    )


async def _trial_output(executor: LocalExecutor, command: Command) -> str:
    running = await executor.start(command)
    try:
        with anyio.move_on_after(_LONGEST):
            ended = await running.wait()
            if ended.code == 0:
                return ""
            said = command.output.read_text(errors="replace").split("\n")
            return ", ".join(line for line in said if line) or ended.describe()
        return "a trial start takes too long"
    finally:
        with anyio.CancelScope(shield=True):
            await running.close()


@contextmanager
def _trial_folder(within: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=within, prefix="trial-") as name:
        yield Path(name)


@contextmanager
def _trial_socket() -> Iterator[str]:
    """A socket of the agent's; its path must be short, so it is not in the data directory."""
    with tempfile.TemporaryDirectory(prefix="terrapod-") as name:
        Path(name).chmod(0o711)
        with socket.socket(socket.AF_UNIX) as listening:
            address = f"{name}/socket"
            listening.bind(address)
            Path(address).chmod(0o600)
            listening.listen()
            yield address
