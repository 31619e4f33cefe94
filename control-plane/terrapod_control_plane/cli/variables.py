"""`terrapod variables`: values that the runs of a workspace get."""

import sys
from typing import Annotated, Any

import typer

from terrapod_control_plane.cli.client import CaFile, Client, Token, Url, connected, failed, segment

app = typer.Typer(help="Variables of a workspace.", no_args_is_help=True)

_LONGEST = 1024 * 1024

Name = Annotated[str, typer.Argument(help="Name of the workspace.")]


@app.command("list")
def show(name: Name, url: Url = None, token: Token = None, ca_file: CaFile = None) -> None:
    """List the variables of a workspace; values of sensitive ones stay hidden."""
    with connected(url, token, ca_file) as client:
        for variable in client.get(f"{_of(client, name)}/vars")["data"]:
            attributes = variable["attributes"]
            value = "(sensitive)" if attributes["sensitive"] else attributes["value"]
            typer.echo(f"{attributes['category']}  {attributes['key']} = {value}")


@app.command("set")
def put(
    name: Name,
    variable: Annotated[
        str,
        typer.Argument(metavar="KEY=VALUE", help="KEY alone reads the value from standard input."),
    ],
    *,
    sensitive: Annotated[
        bool | None,
        typer.Option("--sensitive/--no-sensitive", help="Never show the value again."),
    ] = None,
    env: Annotated[bool, typer.Option("--env", help="For the environment of the runs.")] = False,
    hcl: Annotated[
        bool | None, typer.Option("--hcl/--no-hcl", help="The value is an HCL expression.")
    ] = None,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Give a workspace a variable, or another value to one that it has.

    One that is sensitive, or hcl, stays so unless told otherwise.
    """
    attributes = _value(variable) | {"category": "env" if env else "terraform"}
    flags = {"sensitive": sensitive, "hcl": hcl}
    attributes |= {name: flag for name, flag in flags.items() if flag is not None}
    with connected(url, token, ca_file) as client:
        changed = _put(client, name, attributes)
        typer.echo(f"{name}: {attributes['key']} is {'changed' if changed else 'set'}")


def _value(variable: str) -> dict[str, object]:
    key, given, value = variable.partition("=")
    if not key:
        raise failed("Give KEY=VALUE, or KEY for a value from standard input.")
    return {"key": key, "value": value if given else sys.stdin.read(_LONGEST).removesuffix("\n")}


def _put(client: Client, name: str, attributes: dict[str, object]) -> bool:
    """Whether it was there already."""
    at = f"{_of(client, name)}/vars"
    known = _known(client, at, attributes)
    if known is None:
        client.create(at, "vars", attributes)
        return False
    body = {"data": {"type": "vars", "id": known, "attributes": attributes}}
    client.send("PATCH", f"{at}/{segment(known)}", json=body)
    return True


@app.command("unset")
def remove(
    name: Name,
    key: Annotated[str, typer.Argument(help="Which one.")],
    *,
    env: Annotated[bool, typer.Option("--env", help="The one of the environment.")] = False,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Take a variable away from a workspace."""
    with connected(url, token, ca_file) as client:
        at = f"{_of(client, name)}/vars"
        known = _known(client, at, {"key": key, "category": "env" if env else "terraform"})
        if known is None:
            raise failed(f"{name} has no such variable {key}.")
        client.send("DELETE", f"{at}/{segment(known)}")
        typer.echo(f"{name}: {key} is gone")


def _known(client: Client, at: str, wanted: Any) -> str | None:
    for variable in client.get(at)["data"]:
        attributes = variable["attributes"]
        if all(attributes[name] == wanted[name] for name in ("key", "category")):
            return str(variable["id"])
    return None


def _of(client: Client, name: str) -> str:
    found = client.get(f"organizations/default/workspaces/{segment(name)}")["data"]
    return f"workspaces/{segment(found['id'])}"
