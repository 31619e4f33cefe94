"""The configuration file of terraform's command line that a phase runs with."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from terrapod_agent.errors import OperationFailed
from terrapod_agent.settings import EnvironmentVariable
from terrapod_agent.work.variables import quoted


class Host(Struct, frozen=True, kw_only=True):
    """A host name that terraform must not look up by itself."""

    name: str  # as a configuration writes it, with its port if that is not 443
    services: Mapping[str, str]  # service id, such as tfe.v2 -> URL
    token: str = ""


VARIABLE = "TF_CLI_CONFIG_FILE"


def content(passed_on: Iterable[EnvironmentVariable], hosts: Iterable[Host]) -> bytes:
    """The whole file: what the operator of the agent lets runs have, then the hosts of the run."""
    own = next((one.value for one in passed_on if one.name == VARIABLE), "")
    try:
        given = Path(own).read_text() if own else ""
    except OSError as error:
        raise OperationFailed(f"the agent's own {VARIABLE} cannot be read: {error}") from error
    return f"{given}\n{render(hosts)}".lstrip().encode()


def render(hosts: Iterable[Host]) -> str:
    """The file's content: for each host where its services are, and the token to show there."""
    return "".join(map(_block, hosts))


def _block(host: Host) -> str:
    services = "".join(f"    {quoted(id_)} = {quoted(url)}\n" for id_, url in host.services.items())
    block = f"host {quoted(host.name)} {{\n  services = {{\n{services}  }}\n}}\n"
    if host.token:
        block += f"credentials {quoted(host.name)} {{\n  token = {quoted(host.token)}\n}}\n"
    return block
