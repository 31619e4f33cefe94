"""A stand-in for terraform that does what a script says, for tests where timing matters.

The script lies in the configuration as ``script.json``: a list of steps for each subcommand.
``["print", TEXT]``, ``["touch", FILE]``, ``["wait", FILE]`` until the file is there, ``["state",
SERIAL]``, ``["torn-state"]``, ``["write", FILE, TEXT]``, ``["fill", FILE]`` until the disk is
full, ``["pid", FILE]``, ``["environment", FILE]``, ``["arguments"]`` prints them,
``["ignore-interrupts"]``, ``["kill", SIGNAL]`` itself, ``["link", FILE, TO]``, ``["python",
TEXT]`` runs that, as ``["shell", COMMAND]`` does, ``["exit", CODE]``. On an interrupt it says so,
writes a state with serial 99 when it applies, and exits with 1.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

_PROGRAM = """\
#!{python} -SE
import json, os, pathlib, signal, sys, time

command = sys.argv[1]
workspace = os.environ["TF_WORKSPACE"]
state = pathlib.Path(os.environ["HOME"], "../state/workspaces", workspace, "terraform.tfstate")

def put_state(serial):
    document = {{"version": 4, "serial": serial, "lineage": "l", "outputs": {{}}, "resources": []}}
    state.write_text(json.dumps(document))

def interrupted(*_):
    print("interrupted", flush=True)
    if command == "apply":
        put_state(99)
    os._exit(1)

signal.signal(signal.SIGINT, interrupted)
steps = json.loads(pathlib.Path("script.json").read_text()).get(command, [])
if command == "show":
    print('{{"resource_changes": []}}', flush=True)
for option in sys.argv:
    if option.startswith("-out="):
        pathlib.Path(option[5:]).write_text("a plan")
for what, *args in steps:
    if what == "print":
        print(args[0], flush=True)
    elif what == "touch":
        pathlib.Path(args[0]).touch()
    elif what == "wait":
        while not os.path.exists(args[0]):
            time.sleep(0.01)
    elif what == "state":
        put_state(args[0])
    elif what == "write":
        pathlib.Path(args[0]).write_text(args[1])
    elif what == "fill":
        with open(args[0], "wb", 0) as file:
            try:
                while file.write(bytes(65536)):
                    pass
            except OSError:
                pass
    elif what == "arguments":
        print(" ".join(sys.argv[1:]), flush=True)
    elif what == "torn-state":
        state.write_text('{{"version": 4, "ser')
    elif what == "state-of":
        state.write_text(json.dumps(args[0]))
    elif what == "remove-state":
        state.unlink()
    elif what == "empty-state":
        state.write_text("")
    elif what == "folder":
        os.mkdir(args[0])
    elif what == "pipe":
        os.mkfifo(args[0])
    elif what == "environment":
        pathlib.Path(args[0]).write_text(json.dumps(dict(os.environ)))
    elif what == "pid":
        pathlib.Path(args[0]).write_text(str(os.getpid()))
    elif what == "ignore-interrupts":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    elif what == "link":
        os.symlink(args[1], args[0])
    elif what == "shell":
        assert os.system(args[0]) == 0, args
    elif what == "python":
        exec(args[0])
    elif what == "kill":
        os.kill(os.getpid(), args[0])
    elif what == "exit":
        sys.stdout.flush()
        os._exit(args[0])
os._exit(2 if command == "plan" else 0)
"""


def scripted_terraform() -> bytes:
    """The executable."""
    return _PROGRAM.format(python=sys.executable).encode()


def script(**commands: Sequence[object]) -> dict[str, str | bytes]:
    """A configuration that holds the script and nothing else."""
    return {"script.json": json.dumps(commands)}


def alive(pid_file: Path) -> bool:
    """Whether the program that wrote its ``pid`` there still runs."""
    status = Path("/proc", pid_file.read_text(), "status")
    return status.exists() and "State:\tZ" not in status.read_text()


def parent(pid_file: Path) -> int:
    """The process that started the program: its shim."""
    stat = Path("/proc", pid_file.read_text(), "stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])
