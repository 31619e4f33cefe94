"""Every setting of the agent, and the only place that reads the process's environment."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct, field
from msgspec.structs import force_setattr

from terrapod_common import logs
from terrapod_common.loops import Backoff
from terrapod_common.settings import Secret, load

PREFIX = "TERRAPOD_AGENT_"
_HANDED = "_TERRAPOD_HANDED"  # the descriptor of a pipe with secrets
_received: dict[str, str] = {}

# What a run may see of the agent's own environment: the way out, whom to trust on it, and the
# identities that clouds give to a machine or a pod. A name may end in `*`.
INHERITED = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"),
    *(
        "AWS_CA_BUNDLE",
        "GIT_SSL_CAINFO",
        "NODE_EXTRA_CA_CERTS",
        "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    ),
    *("AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_STS_REGIONAL_ENDPOINTS"),
    *("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    *("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_AUTHORITY_HOST", "AZURE_FEDERATED_TOKEN_FILE"),
    *("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT"),
    *("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "GCE_METADATA_HOST"),
    *("LANG", "LC_ALL", "TZ"),
)

_PATHS = (
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"),
    *("GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE"),
    *("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
    *("AZURE_FEDERATED_TOKEN_FILE", "GOOGLE_APPLICATION_CREDENTIALS"),
)


class Waits(Struct, frozen=True, kw_only=True):
    """How long the agent waits for what, in seconds."""

    poll: float = 25.0  # one long poll for work or orders
    connect: float = 10.0
    answer: float = 30.0  # silence of the server within one request
    retry_first: float = 0.5
    retry_longest: float = 30.0
    log: float = 0.2  # between two looks for new output
    state: float = 1.0  # between two looks at the state during an apply
    survivor: float = 0.2  # between two looks whether a terraform of an earlier agent has ended
    init_quiet: float = 10.0  # init shows its output when it takes longer
    beat: float = 10.0  # until the server has said how often
    status: float = 5.0
    space: float = 5.0  # between two looks whether the disk has room
    flush: float = 60.0  # between two tries to deliver what was refused
    sweep: float = 3600.0
    stop: float = 5.0  # for the last words when the agent is told to go at once


_USER_IDS = re.compile(r"([1-9]\d{2,8})-([1-9]\d{2,8})")


class AgentSettings(Struct, frozen=True, kw_only=True):
    """What an operator can choose; each has an environment name that starts TERRAPOD_AGENT_."""

    data_dir: Path = field(default_factory=lambda: Path("~/.terrapod/agent").expanduser())
    runs_dir: Path = Path("/var/lib/terrapod/runs")  # where runs work; the same on each agent
    url: str = ""  # of the control plane, for joining
    join_token: Secret | None = None
    name: str = ""  # default: the host's name
    ca_file: Path | None = None  # whom to trust as the control plane
    slots: Annotated[int, Meta(ge=1, le=1024)] = 1  # phases at once
    accept: tuple[Literal["plan", "apply"], ...] = ("plan", "apply")
    once: bool = False  # end after one phase
    idle_exit: float | None = None  # end after this many seconds without work
    grace: float | None = None  # from interrupt to kill; default: as the server says
    environment: tuple[str, ...] = INHERITED
    sandbox: Literal["auto", "on", "off"] = "auto"  # bubblewrap; `on` refuses to start without
    sandbox_reads: tuple[Path, ...] = ()  # files and folders that a sandbox shows beside its own
    run_uids: str = "64000-64999"  # when it is root: one for each run; empty: runs are root
    free_bytes: int = (
        256 * 1024 * 1024
    )  # less room on the disk, and no work is taken; 0: never mind
    tool_days: float = 30.0  # an unused terraform is removed after so many days
    log_format: logs.Format = "console"
    log_level: str = "info"
    waits: Waits = Waits()

    def __post_init__(self) -> None:
        """Refuse a range that would silently leave runs without user ids of their own."""
        # Programs that start in another folder, such as a sandbox, are told where it is.
        force_setattr(self, "data_dir", self.data_dir.absolute())
        if not self.run_uids:
            return
        found = _USER_IDS.fullmatch(self.run_uids)
        if found is None or int(found[1]) > int(found[2]):
            text = f"run_uids is a range such as 64000-64999, or empty, not {self.run_uids!r}"
            raise ValueError(text)

    def uid_range(self) -> tuple[int, int] | None:
        """The first and the last user id for runs."""
        first, _, last = self.run_uids.partition("-")
        return (int(first), int(last)) if first else None

    def backoff(self) -> Backoff:
        """The waits between tries while the server is away."""
        return Backoff(first=self.waits.retry_first, longest=self.waits.retry_longest)


class EnvironmentVariable(Struct, frozen=True):
    """One variable of an environment."""

    name: str
    value: str


def read_settings(file: Path | None = None) -> AgentSettings:
    """The settings of this process: defaults, then ``file``, then the environment."""
    environment = {**os.environ, **_received}
    return load(AgentSettings, prefix=PREFIX, environment=environment, file=file)


def environment_secrets() -> Mapping[str, str]:
    """The secrets in the environment of this process."""
    fields = msgspec.structs.fields(AgentSettings)
    kept = [f"{PREFIX}{f.name.upper()}" for f in fields if Secret in (f.type, *get_args(f.type))]
    return {name: value for name, value in os.environ.items() if name.upper() in kept}


def pass_secrets(values: Mapping[str, str]) -> int:
    """A descriptor from which the process that we become can read ``values`` once."""
    reader, writer = os.pipe()
    os.write(writer, msgspec.json.encode(values))
    os.close(writer)
    return reader


def environment_without(values: Mapping[str, str], handed_at: int) -> Mapping[str, str]:
    """The environment of this process without ``values``, which are handed over otherwise."""
    left = {name: value for name, value in os.environ.items() if name not in values}
    return {**left, _HANDED: str(handed_at)}


def receive_secrets() -> None:
    """Take the secrets that the process before us has handed over, if it did."""
    if reader := os.environ.pop(_HANDED, ""):
        with os.fdopen(int(reader), "rb") as file:
            _received.update(msgspec.json.decode(file.read(), type=dict[str, str]))


def inherited_files(settings: AgentSettings) -> tuple[Path, ...]:
    """The files that variables which a run gets from this process's environment name."""
    paths = [
        Path(variable.value)
        for variable in inherited_environment(settings)
        if variable.name in _PATHS
    ]
    return tuple(path for path in paths if path.is_absolute())


def inherited_environment(settings: AgentSettings) -> tuple[EnvironmentVariable, ...]:
    """What a run may see of this process's environment, always with a PATH."""
    path = EnvironmentVariable("PATH", os.environ.get("PATH", os.defpath))
    return (path, *_allowed(settings.environment))


def _allowed(names: tuple[str, ...]) -> Iterator[EnvironmentVariable]:
    starts = tuple(name[:-1] for name in names if name.endswith("*"))
    for name, value in sorted(os.environ.items()):
        own = name.startswith(PREFIX)
        if not own and (name in names or (starts and name.startswith(starts))):
            yield EnvironmentVariable(name, value)
