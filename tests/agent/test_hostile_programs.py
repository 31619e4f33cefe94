"""What is started with the rights of the agent takes nothing from a run on its way."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from terrapod_agent.executors import bubblewrap, kernel
from terrapod_agent.executors.base import Account, Exit
from terrapod_agent.executors.local import LocalExecutor
from terrapod_agent.executors.process import ProcessRecord
from terrapod_agent.work.variables import reserved
from tests.agent.test_shim import command, until

pytestmark = pytest.mark.anyio

AS_ROOT = pytest.mark.needs("root")
UID = 64991


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="terrapod-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.mark.parametrize("name", ["LOCPATH", "GCONV_PATH", "GLIBC_TUNABLES", "NLSPATH"])
def test_a_workspace_does_not_say_where_the_system_finds_code(name: str) -> None:
    assert reserved(name, "/tmp/x")


@pytest.mark.parametrize("sandboxed", [False, pytest.param(True, marks=pytest.mark.needs("bwrap"))])
async def test_what_runs_with_the_rights_of_the_agent_has_no_environment_of_the_run(
    tmp_path: Path, *, sandboxed: bool
) -> None:
    """There it would find code: the system's library loads it from where LOCPATH says."""
    found = bubblewrap.find() if sandboxed else None
    assert not isinstance(found, str)
    place = tmp_path / "place"
    place.mkdir()
    shell = 'printf "%s" "$MARK" > said; env > all; echo $$ > pid; '
    shell += "read go < go"
    os.mkfifo(place / "go")
    value = "of the run\nin two lines"
    environment = {"PATH": os.environ["PATH"], "HOME": str(place), "MARK": value, "EMPTY": ""}
    wanted = command(tmp_path, shell, environment=environment, writable=(place,))
    wanted = msgspec.structs.replace(wanted, folder=place)
    running = await LocalExecutor(0.02, sandbox=found).start(wanted)
    await until(place / "pid")
    mine = kernel.descendants(os.getpid())
    told = [pid for pid in mine if "of the run" in kernel.read(f"/proc/{pid}/environ")]
    (place / "go").write_text("go\n")
    assert (await running.wait()).code == 0
    await running.close()
    assert len(mine) == 2 + sandboxed
    assert len(told) == 1
    assert (place / "said").read_text() == value
    names = {line.partition("=")[0] for line in (place / "all").read_text().splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_", "in two lines"} == environment.keys()


@AS_ROOT
async def test_a_link_does_not_lead_a_run_into_a_folder_behind_a_closed_one(
    open_to_all: Path,
) -> None:
    closed = open_to_all / "closed"
    (closed / "inner").mkdir(parents=True)
    closed.chmod(0o700)
    (closed / "inner").chmod(0o777)
    place = open_to_all / "place"
    place.mkdir()
    (place / "tree").symlink_to(closed / "inner")
    wanted = command(open_to_all, "touch was-here", account=Account(UID))
    wanted = msgspec.structs.replace(wanted, folder=place / "tree")
    running = await LocalExecutor(0.02).start(wanted)
    told: Exit = await running.wait()
    await running.close()
    assert told.code == 127
    assert not (closed / "inner" / "was-here").exists()


@AS_ROOT
def test_a_run_that_calls_itself_a_shim_is_none() -> None:
    called = "terrapod_agent.executors.shim import"
    argv = ["/bin/sh", "-c", "read line", called]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, user=UID, cwd="/") as posing:
        assert called in kernel.read(f"/proc/{posing.pid}/cmdline")
        assert posing.pid not in kernel.shim_processes()
        assert ProcessRecord(uid=UID).strays() == [posing.pid]
