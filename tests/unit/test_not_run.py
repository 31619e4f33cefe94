"""Tests that lack what they need are named, and are a failure where every one has to run."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT
from tests.kit.not_run import STRICT

LACKS = """
import pytest

@pytest.fixture
def never():
    raise AssertionError

@pytest.mark.needs("a-program-that-is-nowhere")
def test_lacks(never):
    pass

@pytest.mark.needs("sh")
def test_has():
    pass
"""


def ran(file: Path, *, strict: bool, workers: int) -> subprocess.CompletedProcess[str]:
    """A session of its own over one file."""
    settings = ("-c", ROOT / "pyproject.toml", "--rootdir", file.parent, "-p", "tests.conftest")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *settings, "-n", str(workers), file],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)} | ({STRICT: "1"} if strict else {}),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_what_did_not_run_is_named_and_a_failure_where_all_must(
    tmp_path: Path, workers: int
) -> None:
    file = tmp_path / "test_x.py"
    file.write_text(LACKS)
    free, strict = (ran(file, strict=strict, workers=workers) for strict in (False, True))
    for done in (free, strict):
        assert "not run here: 1" in done.stdout, done.stdout + done.stderr
        assert "needs a-program-that-is-nowhere\n    test_x.py::test_lacks\n" in done.stdout
        assert "1 passed, 1 skipped" in done.stdout
    assert (free.returncode, strict.returncode) == (0, 1)


def test_where_all_ran_nothing_is_said(tmp_path: Path) -> None:
    file = tmp_path / "test_x.py"
    file.write_text("def test_has(): pass")
    done = ran(file, strict=True, workers=0)
    assert done.returncode == 0, done.stdout
    assert "not run here" not in done.stdout
