"""Who asks for work, how long a claim lasts, and what names one."""

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


class LeaseRef(Struct, frozen=True, kw_only=True):
    """What an agent says it holds, or held: a phase, as this listener, under this fence."""

    listener: str
    phase: str
    fence: int  # -1, which is nobody's, when none was named


class Leases(Struct, frozen=True):
    """How long a claim lasts without a beat."""

    plan: timedelta
    apply: timedelta
