"""`terrapod workspaces`: what operators do with workspaces that are on hold."""

from typing import Annotated, Any

import typer

from terrapod_control_plane.cli.client import (
    CaFile,
    Client,
    Token,
    Url,
    connected,
    failed,
    segment,
)

_WORKSPACES = "organizations/default/workspaces"
_NEXT = "what was planned before is discarded, start a new run"

app = typer.Typer(help="Workspaces, and how to go on when an apply was lost.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the workspace.")]


@app.command("list")
def show(url: Url = None, token: Token = None, ca_file: CaFile = None) -> None:
    """List the workspaces, and why one is locked or on hold."""
    with connected(url, token, ca_file) as client:
        for workspace in client.all(_WORKSPACES):
            attributes = workspace["attributes"]
            typer.echo(f"{workspace['id']}  {attributes['name']}{_remark(attributes)}")


def _remark(attributes: Any) -> str:
    if hold := attributes.get("hold"):
        return f"  on hold: {hold['reason']}"
    return "  locked" if attributes["locked"] else ""


@app.command("adopt")
def adopt(
    name: Name,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also in the place of a state stored since then.")
    ] = False,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Take the state that a lost apply reached as the current one, and end the hold."""
    with connected(url, token, ca_file) as client:
        _act(client, name, "adopt-state?replace=true" if replace else "adopt-state")
        typer.echo(f"{name}: the recovered state is the current one; {_NEXT}")


@app.command("clear")
def clear(name: Name, url: Url = None, token: Token = None, ca_file: CaFile = None) -> None:
    """End the hold with the state that the server has."""
    with connected(url, token, ca_file) as client:
        _act(client, name, "clear-hold")
        typer.echo(f"{name}: the hold is cleared; {_NEXT}")


def _act(client: Client, name: str, action: str) -> None:
    found = client.get(f"{_WORKSPACES}/{segment(name)}")["data"]
    if not found["attributes"].get("hold"):
        raise failed(f"{name} is not on hold.")
    client.send("POST", f"workspaces/{segment(found['id'])}/actions/{action}")
