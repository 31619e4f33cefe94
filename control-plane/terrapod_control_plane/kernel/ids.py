"""Identifiers: a prefix that names the kind, a dash and 16 base58 characters.

What is a numbered part of something has that one's characters, and four more for its number.
"""

import re
import secrets

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LENGTH = 16
_NUMBER_LENGTH = 4

# prefix -> JSON:API type
KINDS = {
    "apply": "applies",
    "apool": "agent-pools",
    "at": "authentication-tokens",
    "cv": "configuration-versions",
    "listener": "listeners",
    "plan": "plans",
    "prj": "projects",
    "re": "run-events",
    "run": "runs",
    "sv": "state-versions",
    "user": "users",
    "var": "vars",
    "ws": "workspaces",
    "wsout": "state-version-outputs",
}

_PARTS = {"wsout": "sv"}  # kinds of parts, and of what
_OWN = rf"({'|'.join(KINDS.keys() - _PARTS.keys())})-[{_ALPHABET}]{{{_LENGTH}}}"
_PART = rf"({'|'.join(_PARTS)})-[{_ALPHABET}]{{{_LENGTH + _NUMBER_LENGTH}}}"
_SHAPE = re.compile(f"{_OWN}|{_PART}")


def new(prefix: str) -> str:
    """A fresh id of the kind that the prefix names, such as ``run-4Hk1…``."""
    if prefix not in KINDS:
        raise ValueError(f"unknown kind of id: {prefix}")
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
    found = _SHAPE.fullmatch(id_)
    return found[1] or found[2] if found else None
