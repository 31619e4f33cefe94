"""Who asks for work, and how long a claim lasts."""

from datetime import timedelta

from msgspec import Struct


class Claimer(Struct, frozen=True, kw_only=True):
    """Who asks for work, for which of its slots, and under which key."""

    listener: str
    pool: str
    slot: int
    key: str
    accept: list[str]
    root: str | None = None  # where its runs work; an apply goes where its plan was made


class Leases(Struct, frozen=True):
    """How long a claim lasts without a beat."""

    plan: timedelta
    apply: timedelta
