"""The commands of operators as real processes."""

import os
import subprocess
import sys
from pathlib import Path

from msgspec import Struct

from tests.kit.stack import Server

_BIN = Path(sys.executable).parent


class Ran(Struct, frozen=True):
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line of a command that failed as it should."""
        assert (self.code, self.out) == (1, ""), self
        line, *more = self.err.strip().splitlines()
        assert not more, self.err
        return line


def ran(*command: str | Path, say: str = "", **environment: str) -> Ran:
    """Run a program of ours with nothing else in its environment."""
    done = subprocess.run(
        [_BIN / command[0], *command[1:]],
        env={"PATH": os.environ["PATH"]} | environment,
        input=say,
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(done.returncode, done.stdout.strip(), done.stderr.strip())


def terrapod(server: Server, *arguments: str | Path, say: str = "") -> Ran:
    """A command beside the server's data directory, where it finds all that it needs."""
    return ran("terrapod", *arguments, say=say, TERRAPOD_DATA_DIR=str(server.data))


def elsewhere(tmp_path: Path, *arguments: str | Path, **environment: str) -> Ran:
    """A command on a machine that knows nothing of the server."""
    home = str(tmp_path / "nothing-here")
    return ran("terrapod", *arguments, TERRAPOD_DATA_DIR=home, **environment)


def on_agent(folder: Path, *arguments: str | Path, say: str = "") -> Ran:
    """A command of the agent with that data directory."""
    return ran("terrapod-agent", *arguments, say=say, TERRAPOD_AGENT_DATA_DIR=str(folder))
