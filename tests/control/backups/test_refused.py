"""Archives that are not good, and places that are not empty."""

import hashlib
import sys
from pathlib import Path

import msgspec
import pytest

from terrapod_control_plane.kernel import epochs
from terrapod_control_plane.migrations.run import known
from tests.kit.backups import Place, members, packed, sealed, succeed
from tests.kit.control import Client

pytestmark = pytest.mark.anyio

# A database as the first version made it.
_OLDER = """
import anyio, sys
from terrapod_control_plane.kernel import db
from terrapod_control_plane.migrations import run
async def main():
    await db.open_pool(sys.argv[1], size=2)
    await run.up_to(sys.argv[1], sys.argv[2])
    for sql in sys.argv[3:]:
        await db.execute(sql)
    await db.close_pool()
anyio.run(main)
"""


async def test_a_wrong_passphrase_changes_nothing(
    here: Place, there: Place, tmp_path: Path
) -> None:
    archive = here.backup(tmp_path / "b")
    wrong = tmp_path / "wrong"
    wrong.write_text("incorrect horse")
    for command in (("restore", archive), ("backup", "verify", archive)):
        done = there.run(*command, "--passphrase-file", wrong)
        assert "not the one that this archive needs" in done.refusal
    assert not there.data.exists()
    assert await there.rows() == {}


@pytest.mark.parametrize("options", ["sealed", "open"])
@pytest.mark.parametrize("where", [0.3, 0.999])
async def test_a_byte_that_is_another_is_noticed(
    here: Place, there: Place, run: str, tmp_path: Path, options: str, where: float
) -> None:
    given = sealed(tmp_path) if options == "sealed" else ["--without-keys"]
    archive = here.backup(tmp_path / "b", *given)
    raw = bytearray(archive.read_bytes())
    at = int(where * len(raw)) + 20
    if options == "open":
        at = _inside(raw, at)
    raw[at] ^= 1
    archive.write_bytes(raw)
    verified = there.run("backup", "verify", archive, *(given if options == "sealed" else []))
    assert verified.code == 1, verified
    assert "Traceback" not in verified.err
    if options == "open":
        there.data.mkdir()
        (there.data / "keys").write_bytes((here.data / "keys").read_bytes())
    restored = there.run("restore", archive, *(given if options == "sealed" else []))
    assert restored.code == 1
    assert "Traceback" not in restored.err
    assert there.blobs() == {}
    assert not await _whole(there)


def _inside(raw: bytearray, at: int) -> int:
    """The next byte that is neither padding nor one that a header leaves unused."""
    return next(i for i in range(at, len(raw)) if raw[i]) if any(raw[at:]) else 100


async def _whole(place: Place) -> bool:
    rows = await place.rows()
    return bool(rows) and "restore_unfinished" not in rows


@pytest.mark.parametrize("kept", [10, 0.98])
@pytest.mark.parametrize("options", ["sealed", "open"])
async def test_an_archive_that_was_cut_off_is_noticed(
    here: Place, there: Place, run: str, tmp_path: Path, options: str, kept: float
) -> None:
    given = sealed(tmp_path) if options == "sealed" else ["--without-keys"]
    archive = here.backup(tmp_path / "b", *given)
    raw = archive.read_bytes()
    archive.write_bytes(raw[: int(kept * len(raw) if 0 < kept < 1 else kept)])
    done = there.run("backup", "verify", archive, *(given if options == "sealed" else []))
    assert "is not good" in done.refusal


async def test_rows_of_somebody_else_are_noticed_though_all_digests_fit(
    here: Place, there: Place, api: Client, tmp_path: Path
) -> None:
    """Who can write the archive must not get in by it: the keys have signed what is in it."""
    archive = here.backup(tmp_path / "b", "--without-keys")
    content = members(archive)
    name = "database/users/000001"
    content[name] = content[name].replace(b"admin@example.com", b"enemy@example.com")
    lines = [
        f"{hashlib.sha256(body).hexdigest()}  {member}\n"
        for member, body in content.items()
        if member.partition("/")[0] not in ("digests", "manifest.json", "manifest.sig")
    ]
    content["digests/000001"] = "".join(lines).encode()
    manifest = msgspec.json.decode(content["manifest.json"])
    manifest["digests"] = [hashlib.sha256(content["digests/000001"]).hexdigest()]
    content["manifest.json"] = msgspec.json.encode(manifest)
    packed(archive, content)
    there.data.mkdir()
    (there.data / "keys").write_bytes((here.data / "keys").read_bytes())
    assert "it was changed" in there.run("restore", archive).refusal
    assert not await _whole(there)


async def test_a_place_where_something_is_stays_as_it_is(
    here: Place, there: Place, run: str, tmp_path: Path
) -> None:
    archive = here.backup(tmp_path / "b")
    served = Place(here.dsn, tmp_path / "elsewhere")
    assert "uses this database already" in served.run("restore", archive, *sealed(tmp_path)).refusal
    await there.ask("create table precious as select 1 as n")
    refusal = there.run("restore", archive, *sealed(tmp_path)).refusal
    assert "holds tables already (precious" in refusal
    assert await there.rows() == {"precious": ["(1)"]}
    blob = there.data / "blobs" / "state" / "ws-1" / "sv-1"
    blob.parent.mkdir(parents=True)
    blob.write_text("precious")
    refusal = there.run("restore", archive, *sealed(tmp_path)).refusal
    assert f"{there.data / 'blobs'} is there already" in refusal
    assert blob.read_text() == "precious"


async def test_blobs_of_another_database_are_never_taken_for_leftovers(
    here: Place, there: Place, run: str, tmp_path: Path
) -> None:
    archive = here.backup(tmp_path / "b", "--without-keys")
    there.data.mkdir()
    (there.data / "keys").write_bytes((here.data / "keys").read_bytes())
    (there.data / "restoring").touch()  # a restore into some other database was killed here
    blob = there.data / "blobs" / "x"
    blob.parent.mkdir()
    blob.write_text("precious")
    assert "is there already" in there.run("restore", archive).refusal
    assert blob.read_text() == "precious"


async def test_a_restore_that_was_cut_off_is_no_database_to_serve_and_can_be_done_again(
    here: Place, there: Place, run: str, tmp_path: Path
) -> None:
    archive = here.backup(tmp_path / "b", "--without-keys")
    half = tmp_path / "half"
    half.write_bytes(archive.read_bytes()[:-5000])
    there.data.mkdir()
    (there.data / "keys").write_bytes((here.data / "keys").read_bytes())
    assert "cut off" in there.run("restore", half).refusal
    for command in ("migrate", "serve"):
        assert "did not come to its end" in there.run(command).err
    # As one leaves it that was killed: both marks, and blobs that it had written.
    (there.data / "restoring").touch()
    leftover = there.data / "blobs" / "log" / "ws-1" / "apply-1"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    there.restore(archive, "--revoke-tokens")
    assert (leftover.exists(), (there.data / "restoring").exists()) == (False, False)
    assert await _whole(there)
    assert await there.ask("select from runs")


@pytest.mark.parametrize("made", ["restoring", "blobs"])
async def test_a_restore_that_was_killed_can_be_done_again(
    here: Place, there: Place, run: str, tmp_path: Path, made: str
) -> None:
    archive = here.backup(tmp_path / "b", *sealed(tmp_path))
    there.kill_once_there_is(made, "restore", archive, *sealed(tmp_path))
    assert not await _whole(there)
    there.restore(archive, *sealed(tmp_path))
    assert await _whole(there)
    # Killed just before its end: keys and token were written, and the marks are still there.
    await there.ask("create table restore_unfinished (since timestamptz)")
    (there.data / "restoring").write_bytes(b"keys")
    there.restore(archive, *sealed(tmp_path))
    assert await _whole(there)
    # Keys that were there before such a restore are not its own.
    await there.ask("create table restore_unfinished (since timestamptz)")
    (there.data / "restoring").write_bytes(b"")
    refusal = there.run("restore", archive, *sealed(tmp_path)).refusal
    assert "keys is there already" in refusal


async def test_a_backup_of_a_newer_version_is_refused(
    here: Place, there: Place, another: Place, tmp_path: Path
) -> None:
    another.restore(here.backup(tmp_path / "b"))
    await another.ask(
        "insert into migration (name, app_name) values ('2099-01-01T00:00:00:000000', 'terrapod')"
    )
    newer = another.backup(tmp_path / "newer")
    assert "newer version" in there.run("restore", newer, *sealed(tmp_path)).refusal
    assert await there.rows() == {}


async def test_a_backup_of_an_older_version_is_brought_up_to_date(
    there: Place, another: Place, tmp_path: Path
) -> None:
    first = known()[0]
    sql = "insert into agent_pools values ('apool-1', 'old', 'x', now())"
    succeed(sys.executable, "-c", _OLDER, another.dsn, first, sql)
    another.data.mkdir()
    (another.data / "keys").write_text("k1:" + "A" * 43 + "=")
    there.restore(another.backup(tmp_path / "b"))
    names = await there.ask("select name from migration order by name")
    assert [row["name"] for row in names] == known()
    (pool,) = await there.ask("select name from agent_pools")
    assert pool["name"] == "old"
    (present,) = await there.ask("select paused_at from installation")
    assert present["paused_at"] is not None


async def test_an_upgrade_takes_no_phase_away(another: Place) -> None:
    before, last = known().index("2026-11-27T00:00:00:000000"), known()[-1]
    seconds = 1_795_737_716  # how epochs were counted
    epoch = f"update installation set epoch = {seconds}"
    succeed(sys.executable, "-c", _OLDER, another.dsn, known()[before - 1], epoch)
    succeed(sys.executable, "-c", _OLDER, another.dsn, last)
    held = (seconds << 20) + 3
    (now,) = await another.ask("select epoch, fence_after($1) as next from installation", held)
    assert epochs.epoch_of(held) == now["epoch"]
    assert now["next"] == held + 1


async def test_there_is_nothing_to_back_up_where_nothing_is(there: Place, tmp_path: Path) -> None:
    done = there.run("backup", tmp_path / "b", "--without-keys")
    assert done.code == 1
    assert "Traceback" not in done.err
    assert not (tmp_path / "b").exists()
