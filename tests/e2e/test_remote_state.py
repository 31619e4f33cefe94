"""Runs that read the outputs of other workspaces, through the door of their agent."""

import re
import socket
from typing import Any

import pytest

from tests.e2e.conftest import NewCli
from tests.kit.command_line import Cli
from tests.kit.stack import Server

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("agent")]

NETWORK = """
resource "terraform_data" "subnet" { input = "a-resource-of-the-network" }
output "address" { value = "10.0.0.1" }
output "password" {
  value     = "hunter2-of-the-network"
  sensitive = true
}
"""


def reading(server: Server, workspace: str, more: str = "") -> str:
    """A configuration that reads the outputs of a workspace."""
    return f"""
data "terraform_remote_state" "network" {{
  backend = "remote"
  config = {{
    hostname     = "localhost:{server.port}"
    organization = "default"
    workspaces   = {{ name = "{workspace}" }}
  }}
}}
resource "terraform_data" "host" {{
  input = "at ${{data.terraform_remote_state.network.outputs.address}}"
}}
output "password" {{
  value     = data.terraform_remote_state.network.outputs.password
  sensitive = true
}}
{more}
"""


def workspace_id(server: Server, name: str) -> str:
    id_: str = server.api("GET", f"organizations/default/workspaces/{name}")["data"]["id"]
    return id_


def change(server: Server, name: str, **attributes: Any) -> None:
    body = {"data": {"type": "workspaces", "attributes": attributes}}
    server.api("PATCH", f"workspaces/{workspace_id(server, name)}", body)


@pytest.fixture
def network(new_cli: NewCli) -> Cli:
    """A workspace with outputs."""
    cli = new_cli()
    cli.configure(NETWORK)
    cli.ok("init")
    cli.ok("apply", "-auto-approve")
    return cli


@pytest.fixture
def reader(new_cli: NewCli, network: Cli, server: Server) -> Cli:
    """A workspace whose configuration reads them."""
    cli = new_cli()
    cli.configure(reading(server, network.workspace))
    cli.ok("init")
    return cli


@pytest.mark.parametrize("how", ["global-remote-state", "project-remote-state", "consumer"])
def test_a_run_reads_what_is_shared_with_it(
    server: Server, network: Cli, reader: Cli, how: str
) -> None:
    if how == "consumer":
        consumer = {"type": "workspaces", "id": workspace_id(server, reader.workspace)}
        path = f"workspaces/{workspace_id(server, network.workspace)}"
        server.api("POST", f"{path}/relationships/remote-state-consumers", {"data": [consumer]})
    else:
        change(server, network.workspace, **{how: True})
    said = reader.ok("apply", "-auto-approve")
    assert "at 10.0.0.1" in said
    assert "1 added" in said
    assert "hunter2-of-the-network" not in said
    assert reader.ok("output", "-raw", "password") == "hunter2-of-the-network"
    # A plan of its own applies later through another door.
    reader.ok("plan", "-out=saved", "-replace=terraform_data.host")
    assert "1 added" in reader.ok("apply", "saved", answer="yes\n")


def test_a_run_is_told_why_it_may_not_read(server: Server, network: Cli, reader: Cli) -> None:
    ran = reader.run("plan")
    assert ran.code == 1
    told = " ".join(re.sub(r"[│╷╵\n]", " ", ran.text).split())
    refusal = f"The workspace {network.workspace} does not share its state with {reader.workspace}"
    assert refusal in told
    assert "set its global-remote-state" in told
    # A workspace that nobody has is refused in the same words.
    reader.configure(reading(server, "unheard-of"))
    other = " ".join(re.sub(r"[│╷╵\n]", " ", reader.run("plan").text).split())
    assert "The workspace unheard-of does not share its state with" in other


def test_the_door_is_shut_after_its_run(server: Server, network: Cli, reader: Cli) -> None:
    change(server, network.workspace, **{"global-remote-state": True})
    look = """
resource "terraform_data" "look" {
  provisioner "local-exec" {
    command = "cat $TF_CLI_CONFIG_FILE; echo; sed 's/./& /g' $TF_CLI_CONFIG_FILE"
  }
}
"""
    reader.configure(reading(server, network.workspace, look))
    said = reader.ok("apply", "-auto-approve")
    assert f'host "localhost:{server.port}"' in said
    assert 'token = "***"' in said
    spaced = re.search(r"t o k e n   =   (.*)", said)
    assert spaced is not None, said
    password = spaced[1].replace(" ", "").strip('"')
    assert password.startswith("door.")
    assert password not in said
    port = int(re.findall(r"http://127\.0\.0\.1:(\d+)/", said)[0])
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    shown = {"authorization": f"Bearer {password}"}
    with server.client() as client:
        answer = client.get("/api/v2/account/details", headers=shown)
    assert answer.status_code == 401


def test_a_token_of_the_user_is_shown_to_the_server_itself(
    server: Server, network: Cli, reader: Cli
) -> None:
    """What is not shared is readable for whoever has the right, without trusting any authority."""
    with_token = reading(server, network.workspace).replace(
        'organization = "default"', f'organization = "default"\n    token = "{server.token}"'
    )
    reader.configure(with_token)
    said = reader.ok("apply", "-auto-approve")
    assert "at 10.0.0.1" in said
