"""`terrapod tokens`: API tokens of users."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

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

app = typer.Typer(help="API tokens.", no_args_is_help=True)


@app.callback()
def tokens() -> None:
    """API tokens."""


@app.command("create")
def create(
    user: Annotated[
        str | None, typer.Option(help="Id of the user, or your own e-mail; empty: yourself.")
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    days: Annotated[
        float | None,
        typer.Option(min=0.01, max=36500, help="After how many days it ends; else never."),
    ] = None,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Make an API token and print nothing but the token."""
    attributes: dict[str, object] = {"description": description}
    if days is not None:
        attributes["expired-at"] = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    with connected(url, token, ca_file) as client:
        path = f"users/{segment(_user(client, user))}/authentication-tokens"
        made = client.create(path, "authentication-tokens", attributes)
        typer.echo(made["attributes"]["token"])


def _user(client: Client, wanted: str | None) -> str:
    if wanted and wanted.startswith("user-"):
        return wanted
    own = client.get("account/details")["data"]
    if wanted and wanted not in (own["attributes"]["email"], own["attributes"]["username"]):
        raise failed(f"{wanted} is not your own account: give the id of the user instead.")
    id_: str = own["id"]
    return id_
