"""The reference says what there is: every setting, every command, every route.

``python -m tests.architecture.test_docs`` writes the three files anew.
"""

import ast
import inspect
import io
import json
import re
import textwrap
import tokenize
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, cast

import msgspec
import typer.main
from msgspec import Struct

from terrapod_agent import cli as agent_cli
from terrapod_agent import settings as agent_settings
from terrapod_common.settings import Secret
from terrapod_control_plane import app as server
from terrapod_control_plane import cli as server_cli
from terrapod_control_plane import settings as server_settings
from tests.architecture.source import ROOT
from tests.kit.actions import declared

DOCS, WIDTH = ROOT / "docs", 100
ANEW = "python -m tests.architecture.test_docs"
ACTIONS = declared()

# Settings whose name says it all to who reads the code, but not to who reads the reference.
SAID = {
    "TERRAPOD_DATA_DIR": "where the server keeps its files",
    "TERRAPOD_CONFIGURATIONS__UNPACKED_BYTES_AT_MOST": "of all files of the archive together",
    "TERRAPOD_CONFIGURATIONS__FILES_AT_MOST": "entries of the archive",
    "TERRAPOD_STATES__BYTES_AT_MOST": "of one state",
    "TERRAPOD_LOGGING__FORMAT": "`console` is for people, `json` for machines",
    "TERRAPOD_LOGGING__LEVEL": "debug, info, warning or error",
    "TERRAPOD_AGENT_DATA_DIR": "where identity, tools and running phases are kept",
    "TERRAPOD_AGENT_JOIN_TOKEN": "for joining",
    "TERRAPOD_AGENT_ACCEPT": "which phases it takes",
    "TERRAPOD_AGENT_ENVIRONMENT": "what a run may see of the agent's own environment",
    "TERRAPOD_AGENT_LOG_FORMAT": "`console` is for people, `json` for machines",
    "TERRAPOD_AGENT_LOG_LEVEL": "debug, info, warning or error",
    "TERRAPOD_AGENT_WAITS__CONNECT": "for a connection to the server",
    "TERRAPOD_AGENT_WAITS__RETRY_FIRST": "before the first try again while the server is away",
    "TERRAPOD_AGENT_WAITS__RETRY_LONGEST": "before any later one",
    "TERRAPOD_AGENT_WAITS__STATUS": "between two writes of what `terrapod-agent status` tells",
    "TERRAPOD_AGENT_WAITS__SWEEP": "between two looks for tools that nothing uses",
}

HOW = """\
A setting of the server stands in the environment under the name given here, or in a TOML file
that `--settings` or `TERRAPOD_SETTINGS` names: `TERRAPOD_SERVER__PORT` is `port` in the table
`[server]`. Those of the agent are in the file that `--config` names, without their prefix. The
environment wins over the file. In the environment a list is joined by commas. An unknown name is
an error.
"""

# --- settings -------------------------------------------------------------------------------------


class Setting(NamedTuple):
    """A line of the reference."""

    name: str
    default: str
    text: str


def settings_of(struct: type[Struct], prefix: str) -> Iterator[Setting]:
    """Every setting of a struct by its name in the environment, tables last."""
    told = comments(struct)
    tables = []
    for field in msgspec.structs.fields(struct):
        name = f"{prefix}{field.name.upper()}"
        if isinstance(field.type, type) and issubclass(field.type, Struct):
            tables.append((field.type, f"{name}__"))
        else:
            text = told.get(field.name) or SAID.get(name, "")
            yield Setting(name, shown(default_of(field)), text)
    for table, inner in tables:
        yield from settings_of(table, inner)


def comments(struct: type[Struct]) -> dict[str, str]:
    """What stands behind each field in the source."""
    source = textwrap.dedent(inspect.getsource(struct))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    at = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            found[node.target.id] = " ".join(at[line] for line in lines if line in at)
    return found


def default_of(field: Any) -> object:
    """The default, also where a factory makes it."""
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return field.default_factory()


def shown(value: object) -> str:
    """A default as one would write it into the environment; no home but `~`."""
    if value is None or (isinstance(value, Secret) and not value.reveal()):
        return ""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if isinstance(value, Path):
        home = Path.home()
        return f"~/{value.relative_to(home)}" if value.is_relative_to(home) else str(value)
    return str(value)


def settings_page() -> str:
    """`docs/reference/settings.md`."""
    parts = ["# Settings\n", f"Made from the code by `{ANEW}`.\n", HOW]
    for title, (struct, prefix) in STRUCTS.items():
        parts += [f"## {title}\n", "| setting | default | meaning |\n| --- | --- | --- |"]
        for setting in settings_of(struct, prefix):
            default = f"`{setting.default}`" if setting.default else ""
            default = default.replace(",", "`, `")
            parts.append(f"| `{setting.name}` | {default} | {setting.text} |")
        parts.append("")
    return "\n".join(parts)


STRUCTS: dict[str, tuple[type[Struct], str]] = {
    "The server": (server_settings.Settings, server_settings.PREFIX),
    "The agent": (agent_settings.AgentSettings, agent_settings.PREFIX),
}

# --- commands -------------------------------------------------------------------------------------

PROGRAMS = {"terrapod": server_cli.app, "terrapod-agent": agent_cli.commands}


def helps(name: str, command: Any, parent: Any = None) -> Iterator[tuple[str, str]]:
    """What `--help` says to a command and to all below it, as plain text."""
    command.rich_markup_mode = None  # else it comes in boxes, as wide as the terminal
    context = command.context_class(
        command,
        parent=parent,
        info_name=name,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        **command.context_settings,
    )
    yield context.command_path, command.get_help(context).rstrip()
    for below in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from helps(below, command.get_command(context, below), context)


def commands_page() -> str:
    """`docs/reference/cli.md`."""
    parts = ["# Commands\n", f"Made from the code by `{ANEW}`.\n"]
    for program, typer_app in PROGRAMS.items():
        for path, text in helps(program, typer.main.get_command(typer_app)):
            parts.append(f"## {path}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


# --- routes ---------------------------------------------------------------------------------------


class Endpoint(NamedTuple):
    """A table of the reference."""

    method: str
    path: str
    who: str
    permission: str
    summary: str


def endpoints() -> list[Endpoint]:
    """Every route that is served, by its path."""
    found = []
    for route in server.build(cast("Any", None)).routes:
        for handler in cast("Any", route).route_handlers:
            for method in handler.http_methods - {"OPTIONS", "HEAD"}:
                function = handler.fn
                summary = (inspect.getdoc(function) or "").partition("\n")[0]
                wanted = "" if handler.opt.get("public") else permission(function)
                who = caller(handler.opt, wanted)
                found.append(Endpoint(method, cast("Any", route).path_format, who, wanted, summary))
    return sorted(found, key=lambda endpoint: (endpoint.path, endpoint.method))


def caller(marks: dict[str, Any], wanted: str) -> str:
    """Whose call is answered."""
    if marks.get("plane") == "agents":
        return "agent"
    if marks.get("public"):
        return "anyone"
    return "user or agent" if wanted == ACTIONS["TOOL_FETCH"].text else "user"


def permission(handler: Callable[..., Any]) -> str:
    """What the use case of a route asks for first; nothing when it asks for none."""
    return next((found for call in calls(handler) if (found := _asked(call))), "")


def _asked(call: Callable[..., Any]) -> str:
    for inner in (call, *calls(call)):
        for node in nodes(inner):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "ctx.must":
                return " or ".join(actions(inner, node.args[0]))
    return ""


def actions(inside: Callable[..., Any], asked: ast.expr) -> list[str]:
    """The actions that an argument of `must` may be, itself or as a function chooses."""
    text = ast.unparse(asked)
    chooser = inside.__globals__.get(text.partition("(")[0])
    text += inspect.getsource(chooser) if inspect.isfunction(chooser) else ""
    return [ACTIONS[name].text for name in re.findall(r"[A-Z][A-Z_]+", text) if name in ACTIONS]


def calls(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """The functions of ours that a function calls, in the order of the source."""
    scope = inspect.unwrap(function).__globals__
    for node in nodes(function):
        if isinstance(node, ast.Call):
            owner, _, name = ast.unparse(node.func).rpartition(".")
            home = scope.get(owner)
            called = getattr(home, name, None) if isinstance(home, ModuleType) else scope.get(name)
            if inspect.isfunction(called) and called.__module__.startswith("terrapod_control"):
                yield called


def nodes(function: Callable[..., Any]) -> list[ast.AST]:
    """The syntax of a function in the order of the source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    placed = [node for node in ast.walk(tree) if hasattr(node, "lineno")]
    return sorted(placed, key=lambda node: (cast("Any", node).lineno, cast("Any", node).col_offset))


def endpoints_page() -> str:
    """`docs/api/endpoints.toml`."""
    parts = [
        f"# Every route that is served. Made from the code by `{ANEW}`.",
        "# who: user (a bearer token), agent (its certificate, agent port only), anyone (the URL",
        "# or the body is the credential, or there is nothing to protect).",
        "# permission: what the use case asks for first; some ask for more in some cases.",
    ]
    for endpoint in endpoints():
        lines = (
            f"{key} = {json.dumps(value)}" for key, value in endpoint._asdict().items() if value
        )
        parts += ["", "[[endpoint]]", *lines]
    return "\n".join(parts) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "reference/settings.md": settings_page,
    "reference/cli.md": commands_page,
    "api/endpoints.toml": endpoints_page,
}


def test_the_reference_says_what_there_is() -> None:
    stale = [name for name, page in PAGES.items() if (DOCS / name).read_text() != page()]
    assert not stale, f"out of date: {', '.join(stale)}; {ANEW} writes them anew"


def test_every_setting_says_what_it_is_for() -> None:
    found = [each for struct, prefix in STRUCTS.values() for each in settings_of(struct, prefix)]
    untold = [setting.name for setting in found if not setting.text]
    assert not untold, f"without a comment behind the field: {untold}"
    assert not SAID.keys() - {setting.name for setting in found}


def test_every_route_says_what_it_does_and_who_may_call_it() -> None:
    listed = tomllib.loads((DOCS / "api" / "endpoints.toml").read_text())["endpoint"]
    silent = [e for e in listed if not e.get("summary") or not e["who"]]
    unguarded = [e for e in listed if e["who"] != "anyone" and not e.get("permission")]
    assert not silent
    assert not unguarded


def write() -> None:
    """Write the reference anew."""
    for name, page in PAGES.items():
        (DOCS / name).parent.mkdir(parents=True, exist_ok=True)
        (DOCS / name).write_text(page())


if __name__ == "__main__":
    write()
