"""The demo, as someone new runs it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from terrapod_control_plane.kernel.postgres.embedded import Embedded
from tests.kit.stack import until

pytestmark = pytest.mark.timeout(180)

TERRAPOD = Path(sys.executable).with_name("terrapod")
ROOT = Path(__file__).parents[2]


def demo(folder: Path, *arguments: str) -> str:
    """What it prints when it works."""
    ran = subprocess.run(
        [TERRAPOD, "demo", "--example", ROOT / "docs/example", *arguments],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def gone(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "State:\tZ" in status.read_text()


def test_it_works_and_leaves_nothing(tmp_path: Path) -> None:
    said = demo(tmp_path)
    assert "All of it worked" in said
    assert [int(step) for step in re.findall(r"rolling out, step (\d) of 6", said)][:6] == [
        *range(1, 7)
    ]
    assert len(set(re.findall(r"run-\w{16}$", said, re.MULTILINE))) == 4
    pids = [int(pid) for pid in re.findall(r"process (\d+)", said)]
    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)
    assert not list(tmp_path.glob("terrapod-demo-*"))


def test_it_goes_on_when_it_is_kept(tmp_path: Path) -> None:
    said = demo(tmp_path, "--keep")
    told = dict(re.findall(r"export (\w+)=(\S+)", said))
    pids = [int(pid) for pid in re.search(r"kill ((?:\d+ )+)&&", said)[1].split()]  # type: ignore[index]
    try:
        listed = subprocess.run(
            [TERRAPOD, "workspaces", "list"],
            env={**os.environ, **told},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "demo" in listed.stdout
        work = re.search(r"cd (\S+) && terraform plan", said)
        assert work
        assert (Path(work[1]) / ".terraform").is_dir()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        until(lambda: all(map(gone, pids)), "both processes end")
        Embedded(Path(told["TERRAPOD_DATA_DIR"]) / "postgres").erase()
