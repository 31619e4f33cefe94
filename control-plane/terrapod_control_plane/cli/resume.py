"""`terrapod resume`: let a server go on that is paused after a restore."""

from typing import Annotated, Any

import typer

from terrapod_control_plane.cli.client import CaFile, Token, Url, connected

_PATH = "admin/recovery"


def resume(
    show: Annotated[
        bool, typer.Option("--show", help="Only tell whether it is paused, and why.")
    ] = False,
    new_epoch: Annotated[
        bool,
        typer.Option(
            "--new-epoch",
            help="Also where nothing is paused: after a failover that may have lost commits.",
        ),
    ] = False,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Hand out work again after a restore.

    Runs that were open end, and their workspaces go on hold until a person has compared.
    """
    with connected(url, token, ca_file) as client:
        if show:
            _tell(client.get(_PATH)["data"]["attributes"])
            return
        query = "?new-epoch=true" if new_epoch else ""
        found = client.send("POST", f"{_PATH}/actions/resume{query}")["data"]["attributes"]
    held = found["held-workspaces"]
    typer.echo(f"The server goes on, in epoch {found['epoch']}.")
    typer.echo(f"Runs that were open and have ended: {len(found['ended-runs'])}.")
    typer.echo(f"Workspaces on hold: {len(held)}{':' if held else '.'}")
    for name in held:
        typer.echo(f"  {name}")
    if held:
        typer.echo(
            "For each of them: plan, compare with what is really there, then "
            "`terrapod workspaces clear` or push the right state."
        )


def _tell(found: Any) -> None:
    if not found["paused"]:
        typer.echo(f"The server is not paused; epoch {found['epoch']}.")
        return
    typer.echo(f"The server is paused since {found['paused-at']}: {found['reason']}.")
    for one in found["findings"]:
        typer.echo(
            f"  {one['workspace-name']}: {one['run-id']} went further than this database knows "
            f"({one['told-by']})"
        )
