"""Whether the server is ready."""

from typing import Literal

from msgspec import Struct

Health = Literal["healthy", "unhealthy"]


class Checks(Struct, frozen=True):
    """The parts that every request may need; `redis` is the ephemeral store, whatever it is."""

    database: Health
    redis: Health
    storage: Health


class Readiness(Struct, frozen=True, omit_defaults=True):
    """The answer of ``GET /ready``."""

    status: Literal["ready", "not ready"]
    checks: Checks
    paused: bool = False  # ready, but nothing is handed out until `terrapod resume`
