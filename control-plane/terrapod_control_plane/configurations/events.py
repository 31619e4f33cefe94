"""What happened to configurations."""

from typing import ClassVar

from terrapod_control_plane.kernel.outbox import Event


class _OfConfiguration(Event, frozen=True, kw_only=True):
    configuration: str
    workspace: str

    @property
    def subject(self) -> str:
        """The configuration."""
        return self.configuration


class ConfigurationCreated(_OfConfiguration, frozen=True, kw_only=True):
    """There is a place for an upload."""

    kind: ClassVar[str] = "configuration.created"
    speculative: bool


class ConfigurationUploaded(_OfConfiguration, frozen=True, kw_only=True):
    """An archive was uploaded, checked and stored."""

    kind: ClassVar[str] = "configuration.uploaded"
    speculative: bool
    provisional: bool
    auto_queue_runs: bool
    created_by: str | None
    digest: str


class ConfigurationErrored(_OfConfiguration, frozen=True, kw_only=True):
    """An archive was uploaded that may not be unpacked."""

    kind: ClassVar[str] = "configuration.errored"
    message: str


class ConfigurationArchived(_OfConfiguration, frozen=True, kw_only=True):
    """Its archive was removed, for nobody works with it any more."""

    kind: ClassVar[str] = "configuration.archived"
