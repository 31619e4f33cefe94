"""The embedded PostgreSQL under root, which it refuses to run as, and under an ordinary user."""

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from terrapod_control_plane.kernel.postgres.embedded import Embedded
from tests.kit.embedded import (
    first_line,
    home_of,
    keep,
    kept,
    owner,
    postmaster,
    serve_as_nobody,
    started_once,
)

pytestmark = pytest.mark.anyio


@pytest.mark.needs("root")
@pytest.mark.parametrize("parent_mode", [0o700, 0o755])
async def test_root_finds_it_again(parent_mode: int) -> None:
    with TemporaryDirectory() as folder:
        parent = Path(folder)
        os.chmod(parent, parent_mode)  # noqa: PTH101 - the rule against blocking knows paths only
        server = Embedded(parent / "data")
        try:
            await keep(server.start())
            home = home_of(parent / "data")
            assert (parent in home.parents) == (parent_mode == 0o755)
            assert owner(postmaster(parent / "data")) == "nobody"
            server.stop()
            next(home.glob("programs-18*")).rename(home / "programs-17.0")
            assert await kept(server.start()) == 42
            assert [path.name[:12] for path in home.glob("programs-*")] == ["programs-18."]
            assert home == home_of(parent / "data")
        finally:
            server.erase()


@pytest.mark.needs("root")
def test_an_ordinary_user_needs_no_copy() -> None:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        data_dir = Path(folder) / "own" / "data"
        data_dir.parent.mkdir()
        shutil.chown(data_dir.parent, "nobody", "nogroup")
        with serve_as_nobody(Path(folder) / "installation", data_dir) as process:
            dsn = first_line(process)
            process.kill()
            _, complaint = process.communicate()
        assert dsn.startswith("postgresql://terrapod:"), complaint
        assert not list((data_dir / "postgres").glob("programs-*"))
        # Root goes on as the user whose database it is.
        started_once(data_dir)
        assert (data_dir / "postgres" / "cluster").owner() == "nobody"
