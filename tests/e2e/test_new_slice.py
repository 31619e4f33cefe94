"""CONTRIBUTING.md works: a slice is served, documented and checked where it is declared."""

import ast
import tomllib
from pathlib import Path

import pytest

from tests.architecture.slices import TOP, modules, trespasses
from tests.architecture.test_slices import ORDER, unguarded
from tests.kit.walkthrough import SETTING, SLICE, Copy, changed, steps

pytestmark = pytest.mark.timeout(300)

SERVER = f"control-plane/{TOP}"
OWN = (f"{SERVER}/notes/", "tests/control/notes/")
MADE = {"docs/api/endpoints.toml"}
NOTES = "/api/v2/workspaces/{workspace_id}/notes"
NOTE = "/api/v2/notes/{note_id}"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The repository with the slice of the page."""
    copy = Copy(tmp_path_factory.mktemp("copy"))
    copy.make()
    for step in steps(SLICE):
        copy.do(step)
    copy.run("-m", "tests.architecture.test_docs")
    return copy


def passed(copy: Copy, *paths: str) -> None:
    """These tests pass in the copy."""
    copy.run("-m", "pytest", "-q", "-p", "no:cacheprovider", *paths)


def test_a_slice_touches_its_folder_and_two_lines_and_a_migration(copy: Copy) -> None:
    others = {path for path in copy.differs() if not path.startswith(OWN)}
    (migration,) = (path for path in others if path.startswith(f"{SERVER}/migrations/versions/"))
    assert others - {migration} == {f"{SERVER}/app.py"} | MADE


def test_it_is_documented(copy: Copy) -> None:
    listed = tomllib.loads((copy.root / "docs/api/endpoints.toml").read_text())["endpoint"]
    found = {
        (one["method"], one["path"]): one["permission"] for one in listed if "note" in one["path"]
    }
    read, write = "note.read", "note.write"
    assert found == {
        ("GET", NOTES): read,
        ("POST", NOTES): write,
        ("GET", NOTE): read,
        ("PATCH", NOTE): write,
        ("DELETE", NOTE): write,
    }


def test_it_is_served_and_under_all_rules(copy: Copy) -> None:
    """Odd ids are left out: they take as long as all others, and hardly differ by slice."""
    for command in (("format", "--check"), ("check",)):
        copy.run("-m", "ruff", *command, *(f"{copy.root}/{path}" for path in OWN))
    passed(
        copy,
        *("tests/control/notes", "tests/control/test_every_route.py", "-k", "not odd_ids"),
        *("tests/control/test_schema_fits.py", "tests/unit/test_policy.py", "tests/architecture"),
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("api", "from terrapod_control_plane.kernel import db"),
        ("service", "from terrapod_control_plane.workspaces import queries as others"),
        ("schema", "from terrapod_control_plane.notes import service"),
        ("anything", "from terrapod_control_plane.kernel import db"),
        ("anything", "from terrapod_control_plane.kernel import transactions"),
    ],
)
def test_a_forbidden_import_is_found(copy: Copy, name: str, line: str) -> None:
    path = copy.root / SERVER / "notes" / f"{name}.py"
    before = path.read_text() if path.exists() else ""
    order = (*ORDER, "notes")
    assert not trespasses(modules(copy.root / "control-plane"), order)
    path.write_text(f"{before}\n{line}\n")
    found = trespasses(modules(copy.root / "control-plane"), order)
    path.write_text(before) if before else path.unlink()
    assert len(found) == 1
    assert found[0].startswith(f"notes.{name} ")


def test_a_missing_permission_is_found(copy: Copy) -> None:
    text = (copy.root / SERVER / "notes" / "service.py").read_text()
    assert not unguarded(ast.parse(text))
    asked = "    await ctx.must(NOTE_READ, workspace)\n"
    (found,) = unguarded(ast.parse(changed(text, f"-{asked}")))
    assert found.startswith("index ")


def test_a_setting_is_read_and_documented(copy: Copy) -> None:
    for step in steps(SETTING):
        copy.do(step)
    copy.run("-m", "tests.architecture.test_docs")
    told = Path(copy.root / "docs/reference/settings.md").read_text()
    assert "| `TERRAPOD_NOTES__IN_WORKSPACE_AT_MOST` | `1000` | notes at one workspace |" in told
    passed(copy, "tests/control/notes", "tests/architecture/test_docs.py")
