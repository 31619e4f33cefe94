"""What is sensitive reaches the real terraform and stays out of the logs."""

import base64

import pytest

from tests.e2e.conftest import NewCli
from tests.kit.command_line import Cli
from tests.kit.stack import Server

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("agent")]

VARIABLE, ENVIRONMENT, SHOWN = "hush variable 4711", "hush-environment-4711", "open-variable-4711"
SECRETS = (VARIABLE, ENVIRONMENT)

# What is printed is only what the shell was given: terraform knows of nothing sensitive here.
MAIN = r"""
variable "hidden" {}
variable "shown" {}

resource "terraform_data" "told" {
  input = [var.hidden, var.shown]

  provisioner "local-exec" {
    command = <<-EOT
      encoded() { printf "$1" | base64 -w 0; echo; }
      echo "length: ${length(var.hidden)}"
      echo "variable: [$TOLD]"
      echo "variable encoded: [$(encoded "$TOLD")]"
      echo "environment: [$HIDDEN]"
      echo "environment encoded: [$(encoded "$HIDDEN")]"
      echo "environment length: $${#HIDDEN}"
      echo "shown: [${var.shown}]"
      echo "shown encoded: [$(encoded ${var.shown})]"
      for before in a aa aaa; do
        echo "inside: $(encoded "$before$TOLD-after")"
        echo "inside: $(encoded "$before$HIDDEN-after")"
      done
    EOT
    environment = { TOLD = var.hidden }
  }
}
"""


def set_variable(server: Server, workspace: str, key: str, value: str, **given: object) -> None:
    attributes = {"key": key, "value": value, "category": "terraform"} | given
    body = {"data": {"type": "vars", "attributes": attributes}}
    server.api("POST", f"workspaces/{workspace}/vars", body)


@pytest.fixture
def cli(new_cli: NewCli, server: Server) -> Cli:
    cli = new_cli()
    found = server.api("GET", f"organizations/default/workspaces/{cli.workspace}")
    id_ = found["data"]["id"]
    set_variable(server, id_, "hidden", VARIABLE, sensitive=True)
    set_variable(server, id_, "HIDDEN", ENVIRONMENT, category="env", sensitive=True)
    set_variable(server, id_, "shown", SHOWN)
    cli.configure(MAIN)
    cli.ok("init")
    return cli


def logs(server: Server, cli: Cli) -> dict[str, str]:
    """The logs of the newest run, as they are read with the address alone."""
    path = f"organizations/default/workspaces/{cli.workspace}"
    id_ = server.api("GET", path)["data"]["id"]
    run = server.api("GET", f"workspaces/{id_}/runs")["data"][0]["id"]
    found = {}
    with server.client() as client:
        client.headers.pop("authorization")
        for kind in ("plan", "apply"):
            shown = server.api("GET", f"runs/{run}/{kind}")["data"]["attributes"]
            found[kind] = client.get(shown["log-read-url"]).text
            assert (found[kind][0], found[kind][-1]) == ("\x02", "\x03")
    return found


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def forms(secret: str) -> list[str]:
    """A secret as it is, and in base64: alone, and inside of a longer text."""
    longer = [encoded(f"{'a' * before}{secret}-after") for before in (1, 2, 3)]
    # The digits at both ends depend on the text around it too.
    return [secret, encoded(secret), *(text[6:-12] for text in longer)]


def test_secrets_reach_terraform_and_are_masked(cli: Cli, server: Server) -> None:
    said = cli.ok("apply", "-auto-approve")
    read = logs(server, cli)
    for text in (said, *read.values()):
        assert [form for secret in SECRETS for form in forms(secret) if form in text] == []
    apply = read["apply"]
    assert f"length: {len(VARIABLE)}" in apply
    assert f"environment length: {len(ENVIRONMENT)}" in apply
    for name in ("variable", "environment"):
        assert f"{name}: [***]" in apply
        assert f"{name} encoded: [***]" in apply
    assert apply.count("inside: ") >= 6
    assert f"shown: [{SHOWN}]" in apply
    assert f"shown encoded: [{encoded(SHOWN)}]" in apply
    assert SHOWN in read["plan"]
    assert "***" in read["plan"]


def test_a_variable_that_is_no_secret_any_more_is_shown(cli: Cli, server: Server) -> None:
    found = server.api("GET", f"organizations/default/workspaces/{cli.workspace}")
    path = f"workspaces/{found['data']['id']}/vars"
    (id_,) = [
        one["id"] for one in server.api("GET", path)["data"] if one["attributes"]["key"] == "hidden"
    ]
    opened = {"sensitive": False, "value": VARIABLE}
    server.api("PATCH", f"{path}/{id_}", {"data": {"type": "vars", "attributes": opened}})
    cli.ok("apply", "-auto-approve")
    apply = logs(server, cli)["apply"]
    assert f"variable: [{VARIABLE}]" in apply
    assert f"variable encoded: [{encoded(VARIABLE)}]" in apply
    assert "environment: [***]" in apply
