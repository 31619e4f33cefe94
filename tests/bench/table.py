"""The table that is printed."""

import statistics
from collections.abc import Sequence

from msgspec import Struct

from tests.bench.light import Load


class Row(Struct, frozen=True, kw_only=True):
    """A figure, what stands beside it, and what is aimed at."""

    what: str
    ours: str
    beside: str = ""
    ratio: str = ""
    aim: str = ""


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table."""
    heads = ("what", "Terrapod", "beside", "ratio", "aim")
    return lines(heads, [(r.what, r.ours, r.beside, r.ratio, r.aim) for r in rows])


def lines(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    rows = [heads, ["---"] * len(heads), *cells]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def told(load: Load) -> str:
    """A load in words."""
    return f"{load.per_second:,.0f}/s, p50 {load.p50:.1f} ms, p99 {load.p99:.1f} ms"


def seconds(times: Sequence[float]) -> str:
    """The median of some durations, with the longest."""
    return f"{statistics.median(times):.2f} s (longest {max(times):.2f} s)"


def times(ours: float, other: float) -> str:
    """How many times the other one."""
    return f"{ours / other:.2f}×" if other else ""  # noqa: RUF001 - the sign is meant
