"""The real terraform command line, against a server."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from msgspec import Struct, field

from tests.kit.stack import Server

Backend = Literal["cloud", "remote"]

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Ran(Struct, frozen=True):
    """How a command ended and what it wrote."""

    code: int
    text: str


class Cli(Struct, kw_only=True):
    """The real terraform in a folder of its own, bound to one workspace."""

    folder: Path
    server: Server
    terraform: Path
    workspace: str
    backend: Backend = "cloud"
    environment: dict[str, str] = field(default_factory=dict)

    def configure(self, text: str) -> None:
        """Write the configuration, with the block that binds it to the workspace."""
        self.folder.mkdir(parents=True, exist_ok=True)
        opening = "cloud {" if self.backend == "cloud" else 'backend "remote" {'
        (self.folder / "backend.tf").write_text(
            f"terraform {{\n  {opening}\n"
            f'    hostname = "localhost:{self.server.port}"\n    organization = "default"\n'
            f'    workspaces {{\n      name = "{self.workspace}"\n    }}\n  }}\n}}\n'
        )
        (self.folder / "main.tf").write_text(text)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command, in a process group of its own."""
        return subprocess.Popen(
            [self.terraform, *arguments],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, answer: str = "") -> Ran:
        """Run a command to its end, with an answer on standard input."""
        with self.start(*arguments) as process:
            try:
                text, _ = process.communicate(answer, timeout=100)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Ran(process.returncode, _COLOURS.sub("", text))

    def ok(self, *arguments: str, answer: str = "") -> str:
        """What a command writes that must succeed."""
        ran = self.run(*arguments, answer=answer)
        assert ran.code == 0, ran.text
        return ran.text

    def interrupt(self, process: subprocess.Popen[str]) -> None:
        """Ctrl-C."""
        process.send_signal(signal.SIGINT)

    def say(self, process: subprocess.Popen[str], answer: str) -> None:
        """A line on its standard input."""
        assert process.stdin is not None
        process.stdin.write(f"{answer}\n")
        process.stdin.flush()

    def _environment(self) -> dict[str, str]:
        config = self.folder.parent / f"{self.folder.name}.tfrc"
        config.write_text(
            f'credentials "localhost:{self.server.port}" {{\n  token = "{self.server.token}"\n}}\n'
        )
        return self.environment | {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder.parent),
            "SSL_CERT_FILE": str(self.server.ca),
            "TF_CLI_CONFIG_FILE": str(config),
            "CHECKPOINT_DISABLE": "1",
        }


@contextmanager
def reading(process: subprocess.Popen[str]) -> Iterator[list[str]]:
    """The lines of a process as they come."""
    lines: list[str] = []

    def follow() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)  # noqa: PERF402 - seen by the test as they come

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield lines
    finally:
        process.kill()
        thread.join()
