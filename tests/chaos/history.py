"""What was seen of a time of chaos, and what must hold of it: a pure function over the record."""

import re
from collections.abc import Iterator
from itertools import pairwise

from msgspec import Struct

from tests.kit.counter import Count

FINAL = frozenset({"applied", "planned_and_finished", "errored", "canceled", "discarded"})
# As it comes; an error says once more what a provisioner had printed.
_LINE = re.compile(r"\(local-exec\): line (\S+) (\d+)")
# What terraform notes as tainted: it knows that it is there, and makes it anew without the
# provisioner that would tell of its end.
_BROKEN = re.compile(r"local-exec provisioner error[\s│]+with terraform_data\.counted\[\"(\S+)\"\]")
_SLACK = 2.0  # seconds between what we did and what the server wrote of it


class Seen(Struct, kw_only=True):
    """A run, as the API showed it in the end."""

    id: str
    workspace: str
    status: str
    reason: str = ""
    waiting_on: str = ""
    began: float | None = None  # its apply
    ended: float | None = None
    keys: list[str] = []  # that its configuration had
    plan_log: str = "\x02\x03"
    apply_log: str = "\x02\x03"  # whole, with the marks of its start and end


class Hold(Struct, kw_only=True):
    """A workspace waited for a person."""

    workspace: str
    run: str
    since: float
    until: float | None = None  # nothing: it still waits
    reason: str = ""


class Blow(Struct, kw_only=True):
    """What was done to whom."""

    at: float
    what: str
    until: float = 0.0  # the end of what goes on for a while
    run: str = ""  # whose apply was ended hard by it, when that is known


class History(Struct, kw_only=True):
    """All that was seen."""

    lines: int  # that each resource prints while it is made
    counts: list[Count] = []
    runs: list[Seen] = []
    holds: list[Hold] = []
    blows: list[Blow] = []
    states: dict[str, list[str]] = {}  # the keys in the state of each workspace, at the end


def faults(history: History) -> list[str]:
    """Everything that must not be; empty when all went right."""
    return [
        *_endless(history),
        *_twice(history),
        *_unapproved(history),
        *_states(history),
        *_logs(history),
        *_holds(history),
    ]


def _endless(history: History) -> Iterator[str]:
    for run in history.runs:
        if run.status not in FINAL and not run.waiting_on:
            yield f"{run.id} is {run.status} and does not say what it waits for"
        if run.status == "errored" and not run.reason:
            yield f"{run.id} is errored and does not say why"


def _twice(history: History) -> Iterator[str]:
    made: dict[tuple[str, str], Count] = {}
    broken = {(run.id, key) for run in history.runs for key in _broken(run)}
    by_run: set[tuple[str, str, str]] = set()
    for count in sorted(history.counts, key=lambda count: count.at):
        thing = (count.workspace, count.key)
        if count.deed == "destroy":
            made.pop(thing, None)
            continue
        if (count.run, *thing) in by_run:
            yield f"{count.run} made {count.key} of {count.workspace} twice"
        elif (
            (first := made.get(thing))
            and (first.run, first.key) not in broken
            and not _held_between(history, first, count)
        ):
            yield (
                f"{count.key} of {count.workspace} was made by {first.run} and again by "
                f"{count.run}, with no hold in between"
            )
        by_run.add((count.run, *thing))
        made[thing] = count


def _broken(run: Seen) -> set[str]:
    return set(_BROKEN.findall(run.apply_log))


def _held_between(history: History, first: Count, second: Count) -> bool:
    # Only of what the lost run itself made nobody knows.
    return any(
        hold.run == first.run and first.at - _SLACK <= hold.since <= second.at
        for hold in history.holds
    )


def _unapproved(history: History) -> Iterator[str]:
    known = {run.id: run for run in history.runs}
    for count in history.counts:
        run = known.get(count.run)
        if run is None:
            yield f"{count.run} made {count.key}, and nobody knows of that run"
        elif run.began is None:
            yield f"{run.id} {count.deed}s {count.key} and its apply never began"
        elif count.deed == "create" and count.key not in run.keys:
            yield f"{run.id} made {count.key}, which is not in its configuration"


def _states(history: History) -> Iterator[str]:
    for workspace, found in history.states.items():
        made: dict[str, Count] = {}
        last: dict[str, Count] = {}
        for count in sorted(history.counts, key=lambda count: count.at):
            if count.workspace != workspace:
                continue
            last[count.key] = count
            if count.deed == "create":
                made[count.key] = count
            else:
                made.pop(count.key, None)
        held = {hold.run for hold in history.holds if hold.workspace == workspace}
        broken = {(run.id, key) for run in history.runs for key in _broken(run)}
        for key in sorted(set(made) ^ set(found)):
            by = last[key].run if key in last else ""
            if by not in held and (by, key) not in broken:
                where = "not in the state" if key in made else "in the state, and was not made"
                yield f"{key} of {workspace} is {where}"


def _logs(history: History) -> Iterator[str]:
    for run in history.runs:
        for name, log in (("plan", run.plan_log), ("apply", run.apply_log)):
            if run.status in FINAL and not (log.startswith("\x02") and log.endswith("\x03")):
                yield f"the {name} log of {run.id} is not whole"
        yield from _lines(history, run)


def _lines(history: History, run: Seen) -> Iterator[str]:
    printed: dict[str, list[int]] = {}
    for key, number in _LINE.findall(run.apply_log):
        printed.setdefault(key, []).append(int(number))
    for key, numbers in printed.items():
        if any(after <= before for before, after in pairwise(numbers)):
            yield f"the apply log of {run.id} has lines of {key} twice or out of order"
        # An apply that was ended in the middle has lost its end, and nothing before it.
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"the apply log of {run.id} lacks lines of {key} in the middle"
    if run.status != "applied":
        return
    made = {count.key for count in history.counts if (count.run, count.deed) == (run.id, "create")}
    for key in sorted(made):
        if len(printed.get(key, [])) < history.lines:
            yield f"the apply log of {run.id} lacks the last lines of {key}"


def _holds(history: History) -> Iterator[str]:
    known = {run.id: run for run in history.runs}
    for hold in history.holds:
        run = known.get(hold.run)
        if run is None or run.began is None:
            yield f"{hold.workspace} is on hold for {hold.run}, whose apply never began"
        elif not any(_may_cause(blow, run.began, hold.since) for blow in history.blows):
            yield f"{hold.workspace} was put on hold by {hold.run} and nothing had happened to it"
        if hold.until is None:
            yield f"{hold.workspace} is still on hold"
    held = {hold.run for hold in history.holds}
    for blow in history.blows:
        struck = known.get(blow.run)
        if struck and struck.status != "applied" and struck.id not in held:
            yield f"the apply of {struck.id} was ended hard ({blow.what}) without a hold"


def _may_cause(blow: Blow, began: float, since: float) -> bool:
    return blow.at <= since + _SLACK and max(blow.at, blow.until) >= began - _SLACK
