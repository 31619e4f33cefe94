"""The configuration file of terraform's command line that a phase runs with."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from terrapod_agent.work.variables import quoted


class Host(Struct, frozen=True, kw_only=True):
    """A host name that terraform must not look up by itself."""

    name: str  # as a configuration writes it, with its port if that is not 443
    services: Mapping[str, str]  # service id, such as tfe.v2 -> URL
    token: str = ""


def render(hosts: Iterable[Host]) -> str:
    """The file's content: for each host where its services are, and the token to show there."""
    return "".join(map(_block, hosts))


def _block(host: Host) -> str:
    services = "".join(f"    {quoted(id_)} = {quoted(url)}\n" for id_, url in host.services.items())
    block = f"host {quoted(host.name)} {{\n  services = {{\n{services}  }}\n}}\n"
    if host.token:
        block += f"credentials {quoted(host.name)} {{\n  token = {quoted(host.token)}\n}}\n"
    return block
