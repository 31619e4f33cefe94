"""What every phase of an agent works with."""

from pathlib import Path

from msgspec import Struct

from terrapod_agent.client import Client
from terrapod_agent.door.public_proxy import PublicAddress
from terrapod_agent.executors.base import Executor
from terrapod_agent.settings import AgentSettings, EnvironmentVariable
from terrapod_agent.work.toolchain import Toolchain
from terrapod_common.loops import Backoff


class PhaseDependencies(Struct, frozen=True, kw_only=True):
    """Made once by the composition root."""

    client: Client
    toolchain: Toolchain
    executor: Executor
    settings: AgentSettings
    inherited_environment: tuple[EnvironmentVariable, ...]
    platform: str
    runs: Path  # where runs have their folders
    public_address: PublicAddress

    @property
    def backoff(self) -> Backoff:
        """The waits between tries while the server is away."""
        return self.settings.backoff()

    @property
    def phases(self) -> Path:
        """Where the folders of the phases lie."""
        return self.settings.data_dir / "phases"
