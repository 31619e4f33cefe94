"""Backups and restores as processes of their own, on any database and data directory."""

import io
import os
import pty
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import asyncpg
from msgspec import Struct

from tests.kit.commands import Ran, ran

PASSPHRASE = "correct horse battery"
_MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


class Place(Struct, frozen=True):
    """A database and a data directory."""

    dsn: str
    data: Path

    @property
    def settings(self) -> dict[str, str]:
        """Where commands find it; the usual ports may be somebody else's."""
        place = {"TERRAPOD_DATABASE__URL": self.dsn, "TERRAPOD_DATA_DIR": str(self.data)}
        return place | dict.fromkeys(("TERRAPOD_SERVER__PORT", "TERRAPOD_SERVER__AGENT_PORT"), "0")

    def run(self, *arguments: str | Path) -> Ran:
        """A command there."""
        return ran("terrapod", *arguments, **self.settings)

    def backup(self, file: Path, *arguments: str | Path) -> Path:
        """A backup that has to succeed; sealed by the usual passphrase unless told otherwise."""
        done = self.run("backup", file, *(arguments or sealed(file.parent)))
        assert done.code == 0, done.err
        return file

    def restore(self, file: Path, *arguments: str | Path) -> str:
        """A restore that has to succeed; what it says."""
        done = self.run("restore", file, *(arguments or sealed(file.parent)))
        assert done.code == 0, done.err
        return done.out

    def memory_of(self, *arguments: str | Path) -> int:
        """How many bytes of memory a command had at most, which has to succeed."""
        program = Path(sys.executable).parent / "terrapod"
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, program, *arguments],
            env={"PATH": os.environ["PATH"]} | self.settings,
            stdout=subprocess.PIPE,
            check=True,
        )
        return int(done.stdout)

    def kill_once_there_is(self, path: str, *arguments: str | Path) -> None:
        """A command that is killed when it has made this in the data directory."""
        process = subprocess.Popen(
            [Path(sys.executable).parent / "terrapod", *arguments],
            env={"PATH": os.environ["PATH"]} | self.settings,
        )
        with process:
            while not (self.data / path).exists() and process.poll() is None:
                time.sleep(0.001)
            process.kill()
        assert process.returncode == -signal.SIGKILL

    async def ask(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """Rows of the database."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return list(await connection.fetch(sql, *args))
        finally:
            await connection.close()

    async def rows(self) -> dict[str, list[str]]:
        """All rows of all tables, as text."""
        tables = await self.ask("select tablename from pg_tables where schemaname = 'public'")
        names = sorted(row["tablename"] for row in tables)
        found = {name: await self.ask(f'select t::text from "{name}" t') for name in names}
        return {name: sorted(row[0] for row in rows) for name, rows in found.items()}

    def blobs(self) -> dict[str, bytes]:
        """All blobs but markers, as they lie on the disk."""
        home = self.data / "blobs"
        files = [path for path in home.rglob("*") if path.is_file()]
        found = {str(path.relative_to(home)): path.read_bytes() for path in files}
        return {key: body for key, body in found.items() if not key.startswith((".", "marker/"))}


def succeed(*command: str | Path, **environment: str) -> None:
    """Run any program, which has to succeed."""
    subprocess.run(command, check=True, env={"PATH": os.environ["PATH"]} | environment)


def sealed(folder: Path) -> list[str | Path]:
    """The options of an archive that is sealed by the usual passphrase."""
    file = folder / "passphrase"
    file.write_text(f"{PASSPHRASE}\n")
    return ["--passphrase-file", file]


def at_a_terminal(place: Place, *arguments: str | Path, answers: Sequence[str]) -> tuple[int, str]:
    """A command that asks, and a person who answers; how it ended and all that was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [Path(sys.executable).parent / "terrapod", *arguments],
        env={"PATH": os.environ["PATH"]} | place.settings,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, left = b"", list(answers)
    with suppress(OSError):  # that is how the end of a terminal is read
        while piece := os.read(ours, 1000):
            shown += piece
            # The last space comes when what was typed too early has been thrown away.
            if left and shown.endswith(b": "):
                os.write(ours, f"{left.pop(0)}\n".encode())
    os.close(ours)
    return process.wait(), shown.decode()


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def members(archive: Path) -> dict[str, bytes]:
    """What is in an archive that is not sealed."""
    with tarfile.open(archive) as tar:
        return {info.name: (tar.extractfile(info) or io.BytesIO()).read() for info in tar}


def packed(archive: Path, content: dict[str, bytes]) -> Path:
    """The archive written anew, with this in it."""
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, body in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return archive
