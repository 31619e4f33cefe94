"""`terrapod pools`: agent pools and the tokens that agents join with."""

from datetime import UTC, datetime, timedelta
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

_POOLS = "organizations/default/agent-pools"

app = typer.Typer(help="Agent pools and join tokens.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the pool.")]


@app.command("create")
def create(name: Name, url: Url = None, token: Token = None, ca_file: CaFile = None) -> None:
    """Create an agent pool and print its id."""
    with connected(url, token, ca_file) as client:
        typer.echo(client.create(_POOLS, "agent-pools", {"name": name})["id"])


@app.command("list")
def show(url: Url = None, token: Token = None, ca_file: CaFile = None) -> None:
    """List the agent pools."""
    with connected(url, token, ca_file) as client:
        for pool in client.all(_POOLS):
            agents = pool["attributes"].get("agent-count", 0)
            typer.echo(f"{pool['id']}  {pool['attributes']['name']}  {agents} agents")


@app.command("token")
def join_token(  # noqa: PLR0917 - the options of a command
    name: Name,
    max_uses: Annotated[
        int | None, typer.Option(min=1, help="How many agents may join with it.")
    ] = None,
    expires_in_hours: Annotated[
        float | None, typer.Option(min=0.01, max=876000, help="After how many hours it ends.")
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Make a join token for a pool and print nothing but the token."""
    attributes: dict[str, object] = {"description": description}
    if max_uses is not None:
        attributes["max-uses"] = max_uses
    if expires_in_hours is not None:
        ends = datetime.now(UTC) + timedelta(hours=expires_in_hours)
        attributes["expired-at"] = ends.isoformat()
    with connected(url, token, ca_file) as client:
        pool = _pool(client, name)["id"]
        path = f"agent-pools/{segment(pool)}/authentication-tokens"
        made = client.create(path, "authentication-tokens", attributes)
        typer.echo(made["attributes"]["token"])


@app.command("delete")
def delete(
    name: Name,
    move_to: Annotated[
        str | None, typer.Option(help="The pool that takes its workspaces and waiting runs.")
    ] = None,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Delete a pool; its agents are out at once."""
    with connected(url, token, ca_file) as client:
        heir = f"?move-to={segment(_pool(client, move_to)['id'])}" if move_to else ""
        client.send("DELETE", f"agent-pools/{segment(_pool(client, name)['id'])}{heir}")
        typer.echo(f"The pool {name} is gone.")


def _pool(client: Client, name: str) -> Any:
    for pool in client.all(_POOLS):
        if name in (pool["id"], pool["attributes"]["name"]):
            return pool
    raise failed(f"There is no agent pool {name}: terrapod pools create {name}")
