"""Backup and restore by their commands, while a control plane serves on the database."""

import hashlib
import os
import stat
import sys
from pathlib import Path

import msgspec
import pytest
from anyio import create_task_group, to_thread

from terrapod_control_plane.kernel import epochs
from tests.kit import factories
from tests.kit.backups import PASSPHRASE, Place, at_a_terminal, members, names, sealed, succeed
from tests.kit.control import Agent, Client

pytestmark = pytest.mark.anyio

_MIB = 1024 * 1024
_ROWS = """
insert into audit_entries
    (at, actor_kind, actor_id, actor_name, request_id, action, subject, detail)
select now(), '', '', '', '', '', '', to_jsonb($2::text) from generate_series(1, $1)
"""
# The restore itself changes these.
_CHANGED = {"installation", "tokens", "audit_entries", "outbox", "migration"}


async def test_what_is_restored_is_what_was_backed_up(
    here: Place, there: Place, run: str, tmp_path: Path
) -> None:
    archive = here.backup(tmp_path / "b")
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    said = there.restore(archive)
    before, after = await here.rows(), await there.rows()
    assert {n: r for n, r in before.items() if n not in _CHANGED} == {
        n: r for n, r in after.items() if n not in _CHANGED
    }
    assert before["runs"]
    of_workspaces = [key for key in here.blobs() if before["workspaces"][0][1:20] in key]
    assert set(there.blobs()) == set(of_workspaces)
    assert there.blobs().items() <= here.blobs().items()
    assert len(there.blobs()) >= 3
    assert (there.data / "keys").read_bytes() == (here.data / "keys").read_bytes()
    assert stat.S_IMODE((there.data / "keys").stat().st_mode) == 0o600
    assert "starts paused" in said
    (present,) = await there.ask("select epoch, pause_reason from installation")
    assert present["epoch"] > 170_000_000_000
    assert "restored from a backup" in present["pause_reason"]


async def test_numbers_go_on_where_they_were(
    here: Place, there: Place, run: str, tmp_path: Path
) -> None:
    there.restore(here.backup(tmp_path / "b"))
    sql = "select last_value from runs_number_seq"
    assert await here.ask(sql) == await there.ask(sql)


async def test_nothing_that_opens_doors_lies_open_in_an_archive(
    here: Place, api: Client, run: str, tmp_path: Path
) -> None:
    (here.data / "admin-token").write_text("terrapod-user-of-the-administrator\n")
    ring = (here.data / "keys").read_bytes().strip()
    for name, options in (("sealed", sealed(tmp_path)), ("open", ["--without-keys"])):
        raw = here.backup(tmp_path / name, *options).read_bytes()
        for secret in (ring, b"terrapod-user-of-the-administrator", b"hush"):
            assert secret not in raw
    (here.data / "admin-token").unlink()
    assert b"agent_pools" not in (tmp_path / "sealed").read_bytes()[200:]
    assert b"agent_pools" in (tmp_path / "open").read_bytes()


async def test_what_is_held_at_the_backup_is_nobody_s_after_the_restore(
    here: Place, there: Place, api: Client, listener: Agent, workspace: str, tmp_path: Path
) -> None:
    await factories.run(api, workspace)
    await factories.starts_plan(listener)
    there.restore(here.backup(tmp_path / "b"))
    (phase,) = await there.ask("select fence from phases where lease_until is not null")
    assert epochs.epoch_of(phase["fence"]) > 170_000_000_000


async def test_two_restores_of_one_backup_begin_two_epochs(
    here: Place, there: Place, another: Place, tmp_path: Path
) -> None:
    archive = here.backup(tmp_path / "b")
    there.restore(archive)
    another.restore(archive)
    sql = "select epoch from installation"
    (first,), (second,) = await there.ask(sql), await another.ask(sql)
    assert first["epoch"] < second["epoch"]


async def test_what_lives_again_is_listed_and_may_be_ended(
    here: Place, there: Place, another: Place, api: Client, listener: Agent, tmp_path: Path
) -> None:
    archive = here.backup(tmp_path / "b")
    said = there.restore(archive)
    assert "admin@example.com: for a test" in said
    assert "first of the pool pool" in said
    assert "Join tokens that were ended: 1" in said
    lost = "What was revoked or deleted after the backup is not revoked here: look at both lists, "
    assert f"{lost}and revoke again what has to be." in said
    kinds = await there.ask("select kind, description from tokens order by created_at")
    assert [row["kind"] for row in kinds] == ["user", "user"]
    assert "0 API tokens are good again" in another.restore(
        archive, "--revoke-tokens", *sealed(tmp_path)
    )
    (left,) = await another.ask("select description, digest from tokens")
    token = (another.data / "admin-token").read_text().strip()
    assert left["digest"] == hashlib.sha256(token.encode()).digest()


async def test_a_key_seals_as_well_as_a_passphrase(
    here: Place, there: Place, run: str, tmp_path: Path
) -> None:
    private, public, other = (tmp_path / name for name in ("private", "public", "other"))
    for key in (private, other):
        succeed("openssl", "genpkey", "-algorithm", "X25519", "-out", key)
    succeed("openssl", "pkey", "-in", private, "-pubout", "-out", public)
    archive = here.backup(tmp_path / "b", "--recipient", public)
    assert "another key" in there.run("restore", archive, "--identity", other).refusal
    assert "use --identity" in there.run("restore", archive, *sealed(tmp_path)).refusal
    there.restore(archive, "--identity", private)
    assert await there.ask("select from runs")


async def test_a_person_is_asked_for_the_passphrase(here: Place, tmp_path: Path) -> None:
    archive = tmp_path / "b"
    code, shown = at_a_terminal(here, "backup", archive, answers=[PASSPHRASE, PASSPHRASE])
    assert (code, PASSPHRASE in shown) == (0, False), shown
    verify = ("backup", "verify", archive)
    code, shown = at_a_terminal(here, *verify, answers=[PASSPHRASE])
    assert (code, "is whole" in shown) == (0, True), shown
    assert at_a_terminal(here, *verify, answers=["something else"])[0] == 1
    short = tmp_path / "short"
    code, shown = at_a_terminal(here, "backup", short, answers=["x", "x"])
    assert (code, "too short" in shown, short.exists()) == (1, True, False)


async def test_without_keys_the_present_ones_are_needed_and_have_to_fit(
    here: Place, there: Place, run: str, tmp_path: Path
) -> None:
    archive = here.backup(tmp_path / "b", "--without-keys")
    assert "keys" not in members(archive)
    assert "made without keys" in there.run("restore", archive).refusal
    ring = (here.data / "keys").read_text()
    (there.data / "keys").write_text("k1:" + "A" * 43 + "=")
    assert "not made with these keys" in there.run("restore", archive).refusal
    (there.data / "keys").write_text(ring)
    there.restore(archive, "--revoke-tokens")
    assert await there.ask("select from runs")


async def test_nothing_is_overwritten(here: Place, tmp_path: Path) -> None:
    file = tmp_path / "b"
    file.write_text("precious")
    assert "overwrites nothing" in here.run("backup", file, "--without-keys").refusal
    assert file.read_text() == "precious"
    assert names(tmp_path) == ["b"]


async def test_standard_output_and_input_do_too(
    here: Place, there: Place, run: str, tmp_path: Path
) -> None:
    secret = " ".join(map(str, sealed(tmp_path)))
    program = Path(sys.executable).parent / "terrapod"
    for command, place in (("backup - {} > b", here), ("restore - {} < b", there)):
        succeed("sh", "-c", f"cd {tmp_path}; {program} {command.format(secret)}", **place.settings)
    assert await there.ask("select from runs")


async def test_no_memory_grows_with_what_is_backed_up_and_restored(
    here: Place, there: Place, another: Place, api: Client, run: str, tmp_path: Path
) -> None:
    key, small, large = sealed(tmp_path), tmp_path / "small", tmp_path / "large"
    little = [here.memory_of("backup", small, *key), there.memory_of("restore", small, *key)]
    await here.ask(_ROWS, 40, os.urandom(500_000).hex())
    workspace = await factories.workspace(api, "other")
    _, url = await factories.upload_url(api, workspace)
    content = factories.archive(**{"main.tf": os.urandom(10 * _MIB).hex()})
    assert (await api.call("PUT", url, content=content)).status_code == 200
    much = [here.memory_of("backup", large, *key), another.memory_of("restore", large, *key)]
    much.append(another.memory_of("backup", "verify", large, *key))
    assert large.stat().st_size > small.stat().st_size + 48 * _MIB
    assert max(much) < max(little) + 20 * _MIB


# --- while all goes on ----------------------------------------------------------------------------


async def test_each_blob_that_the_rows_name_is_in_the_archive_while_others_go(
    here: Place, there: Place, api: Client, listener: Agent, workspace: str, tmp_path: Path
) -> None:
    """Each apply replaces the states on its way, so blobs are deleted all the while."""
    archives = [tmp_path / f"b{number}" for number in range(4)]
    stop = False

    async def work() -> None:
        serial = 1
        while not stop:
            run = await factories.run(api, workspace)
            await factories.plans(listener)
            await api.post(f"/api/v2/runs/{run}/actions/apply")
            apply = await factories.starts_apply(listener)
            for final in ("false", "false", "true"):
                serial += 1
                sent = await listener.send(
                    apply, "state", factories.state(serial), f"final={final}"
                )
                assert sent.status_code == 200, sent.text
            assert (await listener.report(apply, "applied")).status_code == 200

    async with create_task_group() as tasks:
        tasks.start_soon(work)
        for archive in archives:
            await to_thread.run_sync(here.backup, archive, "--without-keys")
        stop = True
    for archive in archives:
        content = members(archive)
        rows = content["database/state_versions/000001"].decode().splitlines()
        header = msgspec.json.decode(content["header.json"])
        (columns,) = (t["columns"] for t in header["tables"] if t["name"] == "state_versions")
        named = [dict(zip(columns, row.split("\t"), strict=True)) for row in rows]
        assert named
        missing = [v["id"] for v in named if f"blobs/state/{workspace}/{v['id']}" not in content]
        assert missing == []
    (there.data).mkdir()
    (there.data / "keys").write_bytes((here.data / "keys").read_bytes())
    there.restore(archives[-1], "--revoke-tokens")
