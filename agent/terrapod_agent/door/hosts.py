"""The names of the server, as terraform is told of them."""

import re
from collections.abc import Iterable

from terrapod_agent.work.cli_config import Host

# Service ids whose requests a door answers; all are served below one path.
SERVICES = ("tfe.v2", "tfe.v2.1", "tfe.v2.2", "state.v2")

# What terraform takes as a host name. One that it does not take would end every command.
_LABEL = r"(?!..--)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}(:|$))({_LABEL})(\.{_LABEL})*(:[1-9][0-9]{{0,4}})?")


def hosts_for_terraform(names: Iterable[str], at: str, password: str) -> list[Host]:
    """A host for each name, all of them at one address, under one password."""
    known = dict.fromkeys(name.lower().removesuffix(":443") for name in names)
    services = dict.fromkeys(SERVICES, f"{at}/")
    return [
        Host(name=name, services=services, token=password)
        for name in known
        if _HOST.fullmatch(name)
    ]
