"""CONTRIBUTING.md as a program: the files and changes that it shows, carried out in a copy."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "CONTRIBUTING.md"
SLICE, SETTING = "Add a resource", "Add a setting"

_PATH = re.compile(r"^`([\w./*-]+)`$")
_COPIED = ("control-plane", "tests", "docs")
_APART = (".git", ".venv", ".nox", ".mypy_cache", ".pytest_cache", ".ruff_cache")
_LEFT_BEHIND = shutil.ignore_patterns("__pycache__", ".*")


class Step(Struct, frozen=True):
    """A block of the page: of a file, what it holds, or a change of it."""

    path: str
    kind: str  # python, sql, diff
    text: str


def steps(chapter: str) -> Iterator[Step]:
    """The blocks of a chapter that stand under the path of a file."""
    page = PAGE.read_text()
    told = next(part for part in page.split("\n## ") if part.startswith(chapter))
    path, kind, block = "", "", list[str]()
    for line in told.splitlines():
        if line.startswith("```") and kind:
            if path and kind in {"python", "sql", "diff"}:
                yield Step(path, kind, "\n".join(block) + "\n")
            kind, block = "", []
        elif line.startswith("```"):
            kind = line.removeprefix("```")
        elif kind:
            block.append(line)
        elif found := _PATH.match(line):
            path = found[1]


class Copy(Struct, frozen=True):
    """A copy of the repository, as far as the server and its tests need it."""

    root: Path

    def make(self) -> None:
        """Copy what may change, and point to the rest."""
        for path in ROOT.iterdir():
            if path.name in _COPIED:
                shutil.copytree(path, self.root / path.name, ignore=_LEFT_BEHIND)
            elif path.name not in _APART:
                (self.root / path.name).symlink_to(path)

    def do(self, step: Step) -> None:
        """Carry out a step."""
        path = self.root / step.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if step.kind == "sql":
            made = self.run("-m", "terrapod_control_plane.migrations.new", _named(path)).strip()
            path = Path(made.splitlines()[-1])
            path.write_text(path.read_text() + step.text)
        elif step.kind == "diff":
            path.write_text(changed(path.read_text(), step.text))
        else:
            assert not path.exists(), f"{path} is there already"
            path.write_text(step.text)

    def run(self, *arguments: str) -> str:
        """What Python prints, with the copy in place of what is installed."""
        ran = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.root,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{self.root}/control-plane:{self.root}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
        return ran.stdout

    def differs(self) -> set[str]:
        """The files of the copy that are new, or not as they are here."""
        found = {path.relative_to(self.root) for path in _files(self.root)}
        return {
            str(path)
            for path in found
            if not (ROOT / path).exists()
            or (ROOT / path).read_bytes() != (self.root / path).read_bytes()
        }


def changed(text: str, diff: str) -> str:
    """A text after a change whose context is the lines before it, and in one place only."""
    lines = diff.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    assert text.count(before) == 1, f"{before!r} is there {text.count(before)} times"
    return text.replace(before, after)


def _named(path: Path) -> str:
    return path.stem.removeprefix("*_")


def _files(root: Path) -> Sequence[Path]:
    parts = (root / name for name in _COPIED)
    return [p for part in parts for p in part.rglob("*.*") if "__pycache__" not in p.parts]
