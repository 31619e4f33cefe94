"""What terraform's command line is told about hosts."""

from pathlib import Path

import pytest

from terrapod_agent.errors import OperationFailed
from terrapod_agent.settings import EnvironmentVariable
from terrapod_agent.work.cli_config import Host, content, render


def test_a_host_gets_its_services_and_its_token() -> None:
    host = Host(name="tf.example.com:8443", services={"tfe.v2": "http://127.0.0.1:1/"}, token='p"w')

    assert render([host]) == (
        'host "tf.example.com:8443" {\n  services = {\n'
        '    "tfe.v2" = "http://127.0.0.1:1/"\n  }\n}\n'
        'credentials "tf.example.com:8443" {\n  token = "p\\"w"\n}\n'
    )


def test_a_host_without_a_token_has_no_credentials() -> None:
    assert "credentials" not in render([Host(name="example.com", services={})])


def test_what_the_operator_gives_to_runs_stays_beside_it(tmp_path: Path) -> None:
    own = tmp_path / "own.tfrc"
    own.write_text('provider_installation {\n  filesystem_mirror {\n    path = "/m"\n  }\n}')
    passed_on = [
        EnvironmentVariable("PATH", "/bin"),
        EnvironmentVariable("TF_CLI_CONFIG_FILE", str(own)),
    ]
    host = Host(name="example.com", services={})
    assert content(passed_on, [host]).decode() == f"{own.read_text()}\n{render([host])}"
    assert content(passed_on[:1], [host]).decode() == render([host])
    own.unlink()
    with pytest.raises(OperationFailed, match="own TF_CLI_CONFIG_FILE cannot be read"):
        content(passed_on, [host])
