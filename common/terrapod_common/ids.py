"""Identifiers: a prefix that names the kind, a dash and 16 base58 characters."""

import re
import secrets

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LENGTH = 16

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

_SHAPE = re.compile(rf"({'|'.join(KINDS)})-[{_ALPHABET}]{{{_LENGTH}}}")


def new(prefix: str) -> str:
    """A fresh id of the kind that the prefix names, such as ``run-4Hk1…``."""
    if prefix not in KINDS:
        raise ValueError(f"unknown kind of id: {prefix}")
    return f"{prefix}-{''.join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))}"


def kind(id_: str) -> str | None:
    """The prefix of a well-formed id, or nothing when it is not one of ours."""
    found = _SHAPE.fullmatch(id_)
    return found[1] if found else None
