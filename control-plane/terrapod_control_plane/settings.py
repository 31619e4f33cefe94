"""Every option of the control plane, documented in place.

An option is a field here, ``TERRAPOD_<TABLE>__<NAME>`` in the environment and ``table.name`` in
the settings file.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from terrapod_common import settings as common_settings
from terrapod_common.settings import Secret

PREFIX = "TERRAPOD_"
# Belong to the agent and to the commands that speak HTTP.
_NOT_OURS = (
    "TERRAPOD_AGENT_",
    "TERRAPOD_URL",
    "TERRAPOD_TOKEN",
    "TERRAPOD_CA_FILE",
    "TERRAPOD_SETTINGS",
)

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1, le=2**40)]
# Nothing that has to end may last for ever; where 0 has a meaning, its comment says which.
Duration = Annotated[float, Meta(gt=0, le=1e8)]
Wait = Annotated[float, Meta(ge=0, le=1e8)]
Whole = Annotated[int, Meta(ge=0, le=10**8)]


class ServerSettings(Struct, frozen=True, kw_only=True):
    """Where the control plane listens."""

    host: str = "127.0.0.1"  # address of the public port
    port: Port = 8443  # 0 takes a free one
    agent_host: str = "127.0.0.1"  # address of the agent port, which is mutual TLS
    agent_port: Port = 8444  # 0 takes a free one
    public_url: str = ""  # how users reach the public port; empty: https://localhost:<port>
    agent_url: str = ""  # how agents reach the agent port; empty: https://localhost:<agent port>
    names: list[str] = []  # further names and addresses for the certificates we make
    tls_cert_file: Path | None = None  # PEM chain of the public port; empty: made by our own CA
    tls_key_file: Path | None = None  # its key
    certificates_every_seconds: Duration = 3600.0  # given ones are read again, ours renewed if due
    stop_grace_seconds: Wait = 4.0  # how long a stop waits for requests under way
    look_every_seconds: Duration = 1.0  # how often the server looks at what `/ready` tells
    connections_at_most: Whole = 0  # of the public port; 0: 4096, or what the open files allow
    agent_connections_at_most: Whole = 0  # of the agent port; 0: 16384, or what the files allow
    connections_per_address: Whole = 256  # of one address to the public port; 0: no limit
    proxies: tuple[str, ...] = ("127.0.0.0/8", "::1")  # networks whose addresses stand for many
    handshake_seconds: Duration = 10.0  # how long a TLS handshake may take
    head_seconds: Duration = 15.0  # how long URL and headers of a request may take
    idle_seconds: Duration = 75.0  # how long a connection may wait for its next request
    stall_seconds: Duration = 30.0  # how long a body or an answer may stand still
    slowest_bytes_per_second: Whole = 1024  # what people's bodies and answers have to move; 0: any
    head_bytes_at_most: Count = 64 * 1024  # of URL and headers together
    stranger_bytes_at_most: Count = 64 * 1024  # of a body that comes without a credential


class DatabaseSettings(Struct, frozen=True, kw_only=True):
    """Which PostgreSQL."""

    url: Secret = Secret("")  # postgresql://…; empty: an embedded server in the data directory
    pool_size: Count = 12  # connections of one process
    answer_seconds: Duration = 60.0  # a statement that takes longer is given up, and answered 503
    start_timeout_seconds: Duration = 30.0  # how long the embedded server may take to start
    dead_at_most_seconds: Duration = 300.0  # an embedded one that can't be started again ends us
    alone_within_seconds: Wait = 60.0  # how long to wait for another process to let go of it
    outbox_days: Duration = 7.0  # events older than this are dropped, if no consumer needs them


class EncryptionSettings(Struct, frozen=True, kw_only=True):
    """The key ring that seals secrets and blobs."""

    keys: Secret = Secret("")  # id:base64,id:base64, the first seals; empty: a file in the data dir


class RunsSettings(Struct, frozen=True, kw_only=True):
    """Leases and limits of runs."""

    plan_lease_seconds: Duration = 30.0  # a plan whose agent is silent for so long is queued again
    apply_lease_seconds: Duration = 120.0  # an apply whose agent is silent for so long is errored
    plan_limit_seconds: Duration = 7200.0  # a plan may take so long
    apply_limit_seconds: Duration = 86400.0  # an apply may take so long
    claims_at_most: Count = 5  # how often a phase may be handed out before the run is errored
    wait_for_person_days: Wait = 30.0  # then a run is discarded; 0: never
    force_cancel_after_seconds: Wait = 60.0  # cool-off between cancel and force-cancel
    sweep_seconds: Duration = 2.0  # how often leases and limits are looked at
    grace_seconds: Wait = 30.0  # what the agent gives terraform between interrupt and kill
    log_bytes: Count = 64 * 1024 * 1024  # the longest log of a phase
    state_every_seconds: Wait = 10.0  # during apply, one state upload in so long at most
    # The end of a fast apply is shown when who follows the plan's log knows that there is one.
    show_end_after_seconds: Wait = 3.0  # at the latest, once they saw that log's end; 0: at once
    show_end_at_most_seconds: Wait = 10.0  # after the apply's end, in any case; 0: at once


class AgentsSettings(Struct, frozen=True, kw_only=True):
    """Agents and their certificates."""

    beat_idle_seconds: Duration = 30.0  # an agent without work beats so often
    beat_busy_seconds: Duration = 10.0  # one with work so often
    offline_after_seconds: Duration = 90.0  # without a beat for so long it counts as offline
    certificate_hours: Duration = 24.0  # life of a client certificate; renewed at a third of it
    renew_after_expiry_days: Duration = 30.0  # how long after its end a certificate may be renewed
    longest_wait_seconds: Duration = 60.0  # a long poll is answered after so long at the latest
    join_token_days: Duration = 30.0  # life of a join token unless told otherwise


class ConfigurationsSettings(Struct, frozen=True, kw_only=True):
    """Limits of uploaded configurations."""

    bytes_at_most: Count = 1024 * 1024 * 1024  # of the archive
    unpacked_bytes_at_most: Count = 1024 * 1024 * 1024
    files_at_most: Count = 250_000
    ratio_at_most: Count = 200  # unpacked bytes to archive bytes
    ratio_free_bytes: Whole = 100_000_000  # of the unpacked bytes, which no ratio is asked of
    upload_hours: Duration = 1.0  # life of an upload URL


class StatesSettings(Struct, frozen=True, kw_only=True):
    """Limits of states."""

    bytes_at_most: Count = 256 * 1024 * 1024
    inline_bytes_at_most: Count = 16 * 1024 * 1024  # base64 in the document itself
    read_seconds: Duration = 20.0  # reading 20 MB may take so long, then it is tried once more
    upload_hours: Duration = 1.0  # life of an upload URL; a version without content is dropped then
    download_hours: Duration = 1.0  # life of a download URL
    snapshot_seconds: Whole = 0  # local applies send states so often; 0: only at the end


class RetentionSettings(Struct, frozen=True, kw_only=True):
    """How long is kept what nobody works with any more. States and their history stay."""

    audit_days: Wait = 365.0  # entries of the audit record; 0: for ever
    plan_days: Wait = 30.0  # what a plan left, after its run has ended; 0: for ever
    configuration_archive_days: Wait = 30.0  # archives that no run needs, but the newest; 0: never
    deleted_days: Wait = 7.0  # the contents of deleted workspaces; 0: removed at the next turn
    recovered_states: Count = 5  # states of one run that came after it had ended, the newest


class LoggingSettings(Struct, frozen=True, kw_only=True):
    """How the server writes its own log."""

    format: Literal["console", "json"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"
    events: bool = True  # a line for everything that happens to runs, workspaces and all else


class Settings(Struct, frozen=True, kw_only=True):
    """All of it."""

    data_dir: Path = Path("~/.terrapod/server")
    first_admin: str = "admin@localhost"  # the e-mail of the administrator made at first start
    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    encryption: EncryptionSettings = EncryptionSettings()
    runs: RunsSettings = RunsSettings()
    agents: AgentsSettings = AgentsSettings()
    configurations: ConfigurationsSettings = ConfigurationsSettings()
    states: StatesSettings = StatesSettings()
    retention: RetentionSettings = RetentionSettings()
    logging: LoggingSettings = LoggingSettings()

    @property
    def token_file(self) -> Path:
        """Where the first administrator's token lies, in clear."""
        return self.data_dir / "admin-token"

    @property
    def public_url(self) -> str:
        """Where users reach the server, without a slash at the end."""
        return self.server.public_url.rstrip("/") or f"https://localhost:{self.server.port}"

    def hosts(self) -> Iterator[str]:
        """The names under which users address the server, with the port unless it is 443."""
        address = urlsplit(self.public_url)
        port = address.port or 443
        if address.hostname:
            yield _host(address.hostname, port)
        for name in self.server.names:
            # By way of what stands before the server, or directly.
            yield from dict.fromkeys((_host(name, port), _host(name, self.server.port)))

    @property
    def agent_url(self) -> str:
        """Where agents reach the agent port, without a slash at the end."""
        return self.server.agent_url.rstrip("/") or f"https://localhost:{self.server.agent_port}"


def load(environment: Mapping[str, str], file: Path | None = None) -> Settings:
    """The effective settings; raises :class:`terrapod_common.settings.BadSettings`."""
    settings = common_settings.load(
        Settings, prefix=PREFIX, environment=environment, file=file, ignore=_NOT_OURS
    )
    if mistakes := list(_contradictions(settings)):
        raise common_settings.BadSettings(mistakes)
    return settings


def _host(name: str, port: int) -> str:
    bracketed = f"[{name}]" if ":" in name else name
    return bracketed if port == 443 else f"{bracketed}:{port}"


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        return False


def _contradictions(settings: Settings) -> Iterator[str]:
    for name in settings.server.proxies:
        try:
            ipaddress.ip_network(name, strict=False)
        except ValueError:
            yield f"server.proxies: {name!r} is neither an address nor a network"
    public = settings.server.public_url
    if public and not _is_address(public):
        yield f"server.public_url is {public!r}: has to be an address such as https://host:8443"
    every, runs = settings.agents.beat_busy_seconds, settings.runs
    for name in ("plan_lease_seconds", "apply_lease_seconds"):
        if (lease := getattr(runs, name)) < 2 * every:
            yield (
                f"runs.{name} is {lease:g}: has to be at least twice agents.beat_busy_seconds, "
                f"which is {every:g}, for a lease is renewed by beats"
            )
