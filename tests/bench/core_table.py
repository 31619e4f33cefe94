"""The table of the core: a row for each work, with what another checkout's server took for it."""

import statistics
from collections.abc import Mapping, Sequence

from msgspec import Struct

from tests.bench import asking, light, table, uploading
from tests.bench.light import Load
from tests.bench.memory import Held
from tests.bench.sides import Side
from tests.bench.uploading import Took

BARE = "run show"  # whose bytes the bare route answers with
_AIMS = {
    ("run show", 16): "2,000/s",
    ("workspace by name", 16): "2,000/s",
    ("current state version", 16): "2,000/s",
    ("run create, plan only, 20 workspaces", 16): "450/s",
    ("run create, plan only", 16): "250/s",
    ("20 of 10,000 workspaces", 16): "600/s",
    ("heartbeat, mTLS", 16): "2,500/s",
    ("runs/next, empty queue, mTLS", 16): "2,500/s",
}
_MEMORY_AIM = "120, 0 when idle, 120 MB"


class Figures(Struct, frozen=True, kw_only=True):
    """A row: a cell of each server, how much faster the last is, and their statements."""

    what: str
    cells: list[str]
    ratio: str = ""
    statements: list[str]
    aim: str = ""


def markdown(sides: Sequence[Side], bare: Mapping[int, Sequence[Load]]) -> str:
    """All rows."""
    names = [side.name for side in sides]
    compared = ["ratio"] if len(sides) > 1 else []
    heads = ["work", *names, *compared, *(f"statements {name}" for name in names), "aim"]
    rows = [*_loads(sides), *_uploads(sides), *_memory(sides), *_bare(sides, bare)]
    return table.lines(
        heads,
        [
            [row.what, *row.cells, *([row.ratio] if compared else []), *row.statements, row.aim]
            for row in rows
        ],
    )


def _loads(sides: Sequence[Side]) -> list[Figures]:
    rows = []
    for case in sides[0].cases:
        for connections in asking.CONNECTIONS:
            key = (case.name, connections)
            loads = [side.found.loads[key] for side in sides]
            pace = [[load.per_second for load in found] for found in loads]
            rows.append(
                Figures(
                    what=_named(case.name, connections),
                    cells=[table.told(light.median(found)) for found in loads],
                    ratio=_ratio(pace[0], pace[-1]),
                    statements=_statements(sides, case.name),
                    aim=_AIMS.get(key, ""),
                )
            )
    return rows


def _uploads(sides: Sequence[Side]) -> list[Figures]:
    rows = []
    for name, aim in uploading.AIMS.items():
        took = [side.uploads.found[name] for side in sides]
        rows.append(
            Figures(
                what=f"upload of a {name}",
                cells=[_took(each) for each in took],
                ratio=_ratio(took[-1].seconds, took[0].seconds),
                statements=_statements(sides, name),
                aim=aim,
            )
        )
    return rows


def _took(took: Took) -> str:
    p50, p99 = (1e3 * light.quantile(took.seconds, part) for part in (0.5, 0.99))
    work = 1e3 * light.quantile(took.work, 0.5)
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, {work:.0f} ms of processors"


def _memory(sides: Sequence[Side]) -> list[Figures]:
    return [
        Figures(
            what=f"PSS of server, readers of states, PostgreSQL, {when}",
            cells=[_held(side.found.held[when]) for side in sides],
            statements=[""] * len(sides),
            aim=_MEMORY_AIM,
        )
        for when in sides[0].found.held
    ]


def _held(held: Held) -> str:
    return f"{held.server:.0f}, {held.workers:.0f}, {held.postgres:.0f} MB"


def _bare(sides: Sequence[Side], bare: Mapping[int, Sequence[Load]]) -> list[Figures]:
    return [
        Figures(
            what=_named(f"a bare Litestar route with the bytes of {BARE}", connections),
            cells=[*[""] * (len(sides) - 1), table.told(light.median(loads))],
            statements=[""] * len(sides),
        )
        for connections, loads in bare.items()
    ]


def _named(what: str, connections: int) -> str:
    return f"{what}, {connections} {'connection' if connections == 1 else 'connections'}"


def _statements(sides: Sequence[Side], name: str) -> list[str]:
    return [str(side.found.statements[name]) for side in sides]


def _ratio(before: Sequence[float], now: Sequence[float]) -> str:
    """The median of what each round says, for its two figures were taken one after the other."""
    return table.times(
        statistics.median(second / first for first, second in zip(before, now, strict=True)), 1.0
    )
