"""What terraform's command line is told about hosts."""

from terrapod_agent.work.cli_config import Host, render


def test_a_host_gets_its_services_and_its_token() -> None:
    host = Host(name="tf.example.com:8443", services={"tfe.v2": "http://127.0.0.1:1/"}, token='p"w')

    assert render([host]) == (
        'host "tf.example.com:8443" {\n  services = {\n'
        '    "tfe.v2" = "http://127.0.0.1:1/"\n  }\n}\n'
        'credentials "tf.example.com:8443" {\n  token = "p\\"w"\n}\n'
    )


def test_a_host_without_a_token_has_no_credentials() -> None:
    assert "credentials" not in render([Host(name="example.com", services={})])
