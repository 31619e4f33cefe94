"""The command `terrapod-agent`."""

import os
import sys
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import anyio
import msgspec
import typer

from terrapod_agent import app, bootstrap, disk_space, doctor, enroll, identity, settings, status
from terrapod_agent.errors import AgentError
from terrapod_agent.settings import AgentSettings
from terrapod_common import logs
from terrapod_common.loops import Fatal
from terrapod_common.settings import BadSettings, Secret
from terrapod_common.version import VERSION

T = TypeVar("T")

commands = typer.Typer(
    name="terrapod-agent",
    help="Runs plans and applies for a Terrapod control plane.",
    epilog="Every setting can also be given in the environment, as TERRAPOD_AGENT_ and its name.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Config = Annotated[Path | None, typer.Option("--config", help="A TOML file with settings.")]
DataDir = Annotated[
    Path | None, typer.Option(help="Where identity, tools and running phases are kept.")
]


@commands.command()
def join(  # noqa: PLR0917 - each is an option of the command line
    url: Annotated[str, typer.Argument(help="The address of the control plane, https://...")],
    token: Annotated[
        str | None,
        typer.Option(
            help="The join token, `-` reads it from standard input; better than here is"
            " the variable TERRAPOD_AGENT_JOIN_TOKEN."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Unique in the pool; default: host name.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="PEM file with the authority of the control plane.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an identity.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Join a pool: make a key, and get a certificate for it with a join token."""
    if token == "-":  # noqa: S105 - not a secret, it says where the secret is
        token = sys.stdin.readline().strip()
    secret = Secret(token) if token else None
    chosen = _settings(
        config, url=url, join_token=secret, name=name, ca_file=ca_file, data_dir=data_dir
    )
    if identity.load(chosen.data_dir) and not force:
        _fail(f"there is an identity in {chosen.data_dir} already; --force replaces it")
    joined = _tried(partial(enroll.join, chosen))
    print(f"joined as {joined.name} ({joined.listener_id}) in pool {joined.pool_id}")
    print(f"the certificate ends {joined.expires():%Y-%m-%d %H:%M} UTC and renews itself")
    print("next: terrapod-agent run")


@commands.command()
def run(  # noqa: PLR0917 - each is an option of the command line
    slots: Annotated[int | None, typer.Option(min=1, max=1024, help="Phases at once.")] = None,
    accept: Annotated[str | None, typer.Option(help="plan, apply or plan,apply.")] = None,
    once: Annotated[bool, typer.Option("--once", help="End after one phase.")] = False,
    idle_exit: Annotated[
        float | None, typer.Option(help="End after so many seconds without work.")
    ] = None,
    sandbox: Annotated[
        str | None, typer.Option(help="auto, on or off: keep runs from this machine.")
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Run the agent. SIGTERM finishes what runs, a second one interrupts it, a third kills it."""
    kinds = tuple(kind.strip() for kind in accept.split(",")) if accept else None
    if kinds and not set(kinds) <= {"plan", "apply"}:
        _fail("--accept takes plan, apply or both, joined by a comma")
    if sandbox not in (None, "auto", "on", "off"):
        _fail("--sandbox takes auto, on or off")
    chosen = _settings(
        config,
        slots=slots,
        accept=kinds,
        once=once or None,
        idle_exit=idle_exit,
        sandbox=sandbox,
        data_dir=data_dir,
    )
    logs.configure(chosen.log_format, chosen.log_level)
    who = identity.load(chosen.data_dir)
    if who is None:
        if not (chosen.url and chosen.join_token):
            _fail(f"no identity in {chosen.data_dir}; use `terrapod-agent join` first")
        who = _tried(partial(enroll.join, chosen))
    _tried(partial(app.run, chosen, who))


@commands.command("status")
def status_(data_dir: DataDir = None, config: Config = None) -> None:
    """Tell what the running agent does; exit code 1 when it is not well."""
    chosen = _settings(config, data_dir=data_dir)
    found = status.read(chosen.data_dir)
    if found is None:
        _fail("no agent is running here")
    # A daemon whose disk is full cannot write that it is.
    full = disk_space.shortage([chosen.data_dir], chosen.free_bytes)
    found = msgspec.structs.replace(found, takes_none=found.takes_none or full)
    _tell(found)
    well = found.connected and not (found.takes_none or found.stale or found.damaged)
    if not well or found.certificate_ends < time.time():
        raise typer.Exit(1)


@commands.command("doctor")
def doctor_(data_dir: DataDir = None, config: Config = None) -> None:
    """Look at identity, server, isolation, space and tools; exit code 1 when something is wrong."""
    chosen = _settings(config, data_dir=data_dir)
    if _tried(partial(_examined, chosen)):
        raise typer.Exit(1)


@commands.command()
def version() -> None:
    """Print the version."""
    print(VERSION)


def main() -> NoReturn:
    """The entry of the console script."""
    bootstrap.harden_process()
    os.umask(0o077)  # other users may pass through our folders, and read nothing
    commands()
    sys.exit(0)


async def _examined(chosen: AgentSettings) -> int:
    wrong = 0
    async for finding in doctor.examine(chosen):
        print(f"{finding.verdict:<5}{finding.subject:<13}{finding.detail}")
        wrong += finding.verdict == "FAIL"
    return wrong


def _tell(found: status.Status) -> None:
    if found.stale:
        print(f"attention    this was written {_ago(found.written_at)}; is the disk full?")
    for folder in found.damaged:
        print(f"attention    {folder} can't be handed in, for its ticket is damaged")
    connected = "yes" if found.connected else f"no: {found.trouble}"
    print(f"agent        {found.name}")
    print(f"server       {found.server}")
    print(f"connected    {connected}")
    print(f"last contact {_ago(found.last_contact)}")
    ends = datetime.fromtimestamp(found.certificate_ends, UTC)
    print(f"certificate  ends {ends:%Y-%m-%d %H:%M} UTC")
    print(f"isolation    {found.isolation}")
    taking = (
        "draining" if found.draining else "paused by the server" if found.paused else "taking work"
    )
    taking = f"takes no work: {found.takes_none}" if found.takes_none else taking
    print(f"slots        {len(found.busy)} of {found.slots} busy, {taking}")
    for busy in found.busy:
        print(
            f"  {busy.kind} of {busy.run_id} in {busy.workspace}: {busy.step}, {_ago(busy.since)}"
        )


def _ago(moment: float | None) -> str:
    return "never" if moment is None else f"{max(0, time.time() - moment):.0f} s ago"


def _settings(config: Path | None, **given: object) -> AgentSettings:
    try:
        chosen = settings.read_settings(config)
    except BadSettings as bad:
        _fail("\n".join(bad.mistakes))
    return msgspec.structs.replace(chosen, **{k: v for k, v in given.items() if v is not None})


def _tried(action: Callable[[], Coroutine[Any, Any, T]]) -> T:
    try:
        return anyio.run(action)
    except (AgentError, Fatal) as trouble:
        _fail(str(trouble))


def _fail(message: str) -> NoReturn:
    print(f"terrapod-agent: {message}", file=sys.stderr)
    raise typer.Exit(1)
