"""Codes of refusals: each one is given somewhere, explained, and never left out where it counts."""

import ast
import re
from pathlib import Path

import pytest

from terrapod_common.agent_protocol import Code

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "control-plane" / "terrapod_control_plane"
# What only agents call: by its status alone they could not tell these refusals apart.
OF_AGENTS = [
    *sorted((SERVER / "agent_api").rglob("*.py")),
    *sorted((SERVER / "agents" / "enrolment").rglob("*.py")),
    *sorted((SERVER / "runs" / "phases").rglob("internal.py")),
]
AMBIGUOUS = {"Conflict", "Forbidden", "Unauthorized"}


@pytest.mark.parametrize("path", OF_AGENTS, ids=lambda path: str(path.relative_to(SERVER)))
def test_what_agents_are_refused_says_why(path: Path) -> None:
    silent = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and ast.unparse(node.exc.func) in AMBIGUOUS
        and not any(keyword.arg == "code" for keyword in node.exc.keywords)
    ]
    assert not silent


def test_every_code_is_given() -> None:
    text = "".join(path.read_text() for path in SERVER.rglob("*.py"))
    assert not [code.name for code in Code if f"Code.{code.name}" not in text]


def test_every_code_is_explained() -> None:
    page = (ROOT / "docs" / "agents.md").read_text()
    listed = re.findall(r"^\| `([a-z-]+)` \| \d", page, re.MULTILINE)
    assert listed == [code.value for code in Code]
