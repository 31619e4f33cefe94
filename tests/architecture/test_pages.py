"""What pages about the code name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/glossary.md")
# What the walk-through of CONTRIBUTING makes.
_MADE = re.compile(r"/notes\b|_notes\.sql")
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#:]+)\)")
# A file, or a folder with a slash at its end.
_PATH = re.compile(r"`((?:[a-z_.-]+/)*(?:[a-z_0-9.-]+/|[a-z_0-9-]+\.(?:py|md|toml|sql|txt)))`")
_HOMES = ("control-plane", "agent", "common", "tests", "docs", ".")


def existing() -> set[str]:
    """The ends of the paths of all files and folders, from each of their parts on."""
    found = set()
    for home in _HOMES:
        pattern = "*" if home == "." else "**/*"
        for path in (ROOT / home).glob(pattern):
            parts = path.relative_to(ROOT).parts
            found |= {"/".join(parts[start:]) for start in range(len(parts))}
    return found


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_names_are_there(page: str) -> None:
    text = _CODE.sub("", (ROOT / page).read_text())
    named = {name.rstrip("/") for name in _PATH.findall(text) if not _MADE.search(name)}
    missing = sorted(named - existing())
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = _CODE.sub("", (ROOT / page).read_text())
    missing = [to for to in _LINK.findall(text) if not (ROOT / page).parent.joinpath(to).exists()]
    assert not missing
