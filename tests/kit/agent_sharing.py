"""What the agents' test server shares of the states of workspaces."""

from abc import ABC, abstractmethod
from typing import Any

import msgspec

from terrapod_common import wire
from terrapod_common.agent_protocol import Code
from tests.kit.agent_records import PhaseRecord, Refusal

NETWORK = "ws-1111111111111111"
VERSION = "sv-1111111111111111"
OUTPUT = "wsout-11111111111111111111"
STATE = {
    "version": 4,
    "terraform_version": "1.11.4",
    "serial": 3,
    "lineage": "00000000-0000-0000-0000-000000000003",
    "outputs": {
        "address": {"value": "10.0.0.1", "type": "string"},
        "password": {"value": "hunter2hunter2", "type": "string", "sensitive": True},
    },
    "resources": [],
}
_SHARED = wire.SharedState(id=VERSION, serial=3, lineage=str(STATE["lineage"]))


class Sharing(ABC):
    """Handlers of the calls by which a phase reads shared states; ``network`` shares its own."""

    def __init__(self) -> None:
        self.shared = {"network": wire.SharedWorkspace(id=NETWORK, name="network", state=_SHARED)}
        self.shared_state = msgspec.json.encode(STATE)
        self.asked: list[dict[str, str]] = []

    @abstractmethod
    def _phase(self, named: dict[str, str]) -> PhaseRecord:
        """The phase that a call names, if it is held."""

    async def on_shared_workspace(self, named: dict[str, str], _: None) -> wire.SharedWorkspace:
        """A workspace that shares."""
        self._phase(named)
        self.asked.append(named)
        for found in self.shared.values():
            if named.get("name") == found.name or named.get("id") == found.id:
                return found
        sought = named.get("name") or named["id"]
        told = f"The workspace {sought} does not share its state with web."
        raise Refusal(403, told, Code.NOT_SHARED)

    async def on_shared_state(self, named: dict[str, str], _: None) -> bytes:
        """Its outputs."""
        self._phase(named)
        self.asked.append(named)
        if named["version_id"] != VERSION:
            raise Refusal(404, f"There is no {named['version_id']}.", Code.NOT_FOUND)
        return self.shared_state

    async def on_shared_outputs(self, named: dict[str, str], _: None) -> bytes:
        """Its outputs as a document."""
        self._phase(named)
        return _document([{"id": OUTPUT, "type": "state-version-outputs", "attributes": {}}])

    async def on_shared_output(self, named: dict[str, str], _: None) -> bytes:
        """One of them."""
        self._phase(named)
        attributes = {"name": "password", "value": "hunter2hunter2"}
        return _document({"id": OUTPUT, "type": "state-version-outputs", "attributes": attributes})


def _document(data: Any) -> bytes:
    return msgspec.json.encode({"data": data})
