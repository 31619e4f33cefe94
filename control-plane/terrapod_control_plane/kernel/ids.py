"""Identifiers: a prefix that names the kind, a dash and 16 base58 characters.

What is a numbered part of something has that one's characters, and four more for its number.
"""

import re
import secrets
from collections.abc import Mapping

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LENGTH = 16
_NUMBER_LENGTH = 4

# The prefix of an id -> its JSON:API type; slices declare theirs.
KINDS: dict[str, str] = {}

_PARTS = {"wsout": "sv"}  # kinds of parts, and of what
_WHOLE = re.compile(rf"([a-z]+)-[{_ALPHABET}]{{{_LENGTH}}}")
_PART = re.compile(rf"([a-z]+)-[{_ALPHABET}]{{{_LENGTH + _NUMBER_LENGTH}}}")


def declare(kinds: Mapping[str, str]) -> None:
    """Add kinds of ids: prefix -> JSON:API type."""
    KINDS.update(kinds)


def new(prefix: str) -> str:
    """A fresh id of the kind that the prefix names, such as ``run-4Hk1…``."""
    length = _LENGTH + (_NUMBER_LENGTH if prefix in _PARTS else 0)
    return f"{prefix}-{''.join(secrets.choice(_ALPHABET) for _ in range(length))}"


def part(prefix: str, of: str, number: int) -> str:
    """The id of a numbered part of something, such as ``wsout-4Hk1…111A`` of ``sv-4Hk1…``."""
    digits = ""
    for _ in range(_NUMBER_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    if number:
        raise ValueError("there are more parts than numbers")
    return f"{prefix}-{of.partition('-')[2]}{digits}"


def parted(id_: str) -> tuple[str, int]:
    """What a well-formed id is a part of, and its number there."""
    prefix, _, rest = id_.partition("-")
    number = 0
    for letter in rest[_LENGTH:]:
        number = number * len(_ALPHABET) + _ALPHABET.index(letter)
    return f"{_PARTS[prefix]}-{rest[:_LENGTH]}", number


def kind(id_: str) -> str | None:
    """The prefix of a well-formed id, or nothing when it is not one of ours."""
    found = _WHOLE.fullmatch(id_) or _PART.fullmatch(id_)
    if found is None or found[1] not in KINDS:
        return None
    return found[1] if (found.re is _PART) == (found[1] in _PARTS) else None
