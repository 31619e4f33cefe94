"""Versions and constraints on them, as terraform writes them; pure."""

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct

_EXACT = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:-([0-9A-Za-z][0-9A-Za-z.-]{0,60}))?")
_TERM = re.compile(
    r"(=|!=|>=|<=|>|<|~>)?\s*(\d{1,6}(?:\.\d{1,6}){0,2})(?:-([0-9A-Za-z][0-9A-Za-z.-]{0,60}))?"
)


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


class BadVersion(ValueError):
    """Neither a version nor a constraint."""


class Version(Struct, frozen=True, order=True):
    """A version, in the order of precedence: a pre-release comes before its release."""

    numbers: tuple[int, ...]
    released: bool = True
    parts: tuple[tuple[bool, int, str], ...] = ()


class Term(Struct, frozen=True):
    """One comparison of a constraint."""

    operator: str
    bound: Version
    given: int  # how many numbers were written

    def holds(self, version: Version) -> bool:
        """Whether a version satisfies it."""
        if compare := _COMPARE.get(self.operator):
            return bool(compare(version, self.bound))
        fixed = max(self.given - 1, 1)
        return version >= self.bound and version.numbers[:fixed] == self.bound.numbers[:fixed]


def is_exact(text: str) -> bool:
    """Whether a text names one version in full."""
    return _EXACT.fullmatch(text) is not None


def parsed(text: str) -> Version:
    """A full version; raises :class:`BadVersion`."""
    found = _EXACT.fullmatch(text)
    if found is None:
        raise BadVersion(f"{text!r} is not a version such as 1.11.4")
    return _version([int(number) for number in found.group(1, 2, 3)], found[4])


def _version(numbers: list[int], pre: str | None) -> Version:
    padded = (*numbers, 0, 0)[:3]
    parts = tuple(
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part)
        for part in (pre or "").split(".")
        if part
    )
    return Version(padded, not pre, parts)


def constraint(text: str) -> list[Term]:
    """The comparisons of a constraint; raises :class:`BadVersion`."""
    terms = []
    for part in text.split(","):
        found = _TERM.fullmatch(part.strip())
        if found is None:
            raise BadVersion(f"{text!r} is neither a version nor a constraint such as ~> 1.11")
        numbers = [int(number) for number in found[2].split(".")]
        terms.append(Term(found[1] or "=", _version(numbers, found[3]), len(numbers)))
    return terms


def newest(versions: Iterable[str], wanted: str = "") -> str | None:
    """The newest of some versions that satisfies a constraint; pre-releases only by name."""
    terms = constraint(wanted) if wanted else []
    named = {term.bound for term in terms if term.operator == "="}
    fitting = [
        (version, text)
        for text in versions
        if (version := parsed(text)).released or version in named
        if all(term.holds(version) for term in terms)
    ]
    return max(fitting)[1] if fitting else None
