"""Whether the server is ready."""

from typing import Literal

from msgspec import Struct

Health = Literal["healthy", "unhealthy"]
# Seconds after which a consumer of events is late.
LATE = 60.0


class Checks(Struct, frozen=True):
    """The parts that every request may need; `redis` is the ephemeral store, whatever it is."""

    database: Health
    redis: Health
    storage: Health


class LateConsumer(Struct, frozen=True, rename="kebab"):
    """What a consumer of events has still to do, and what it has given up."""

    behind: int
    oldest_seconds: int
    attempts: int
    dead_letters: int


class Readiness(Struct, frozen=True, omit_defaults=True):
    """The answer of ``GET /ready``."""

    status: Literal["ready", "not ready"]
    checks: Checks
    paused: bool = False  # ready, but nothing is handed out until `terrapod resume`
    consumers: dict[str, LateConsumer] = {}  # of those that are late or gave something up
