"""While a backup copies blobs nothing is deleted; afterwards it is."""

from collections.abc import AsyncGenerator
from pathlib import Path

import asyncpg
import pytest

from terrapod_control_plane.backup import making
from terrapod_control_plane.health import jobs as health_jobs
from terrapod_control_plane.kernel import db, spared
from terrapod_control_plane.kernel.blobs.base import once
from terrapod_control_plane.kernel.blobs.local import LocalBlobs
from terrapod_control_plane.kernel.context import system
from tests.kit.control import Control

pytestmark = pytest.mark.anyio


async def test_a_deletion_waits_for_the_end_of_a_backup(control: Control, dsn: str) -> None:
    blobs, ctx = control.services.blobs, system(control.services)
    await blobs.put("state/ws-1/sv-1", once(b"x"))
    connection = await asyncpg.connect(dsn)
    async with spared.copying(connection):
        async with db.transaction():
            await blobs.delete("state/ws-1/sv-1")
        await health_jobs.delete_doomed(ctx)
        assert await blobs.size("state/ws-1/sv-1") == 1
    await connection.close()
    await health_jobs.delete_doomed(ctx)
    assert [key async for key in blobs.below("state/ws-1/")] == []
    await blobs.put("state/ws-1/sv-2", once(b"x"))
    await blobs.delete("state/ws-1/sv-2")
    assert [key async for key in blobs.below("state/ws-1/")] == []


class Cutting(LocalBlobs):
    """Ends the connection of the backup while blobs are copied."""

    async def below(self, prefix: str = "") -> AsyncGenerator[str, None]:
        await db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'terrapod backup'"
        )
        async for key in super().below(prefix):
            yield key


async def test_a_backup_whose_lock_was_lost_is_none(
    control: Control, dsn: str, data_dir: Path
) -> None:
    source = making.Source(
        dsn=dsn,
        stores={"blobs": Cutting(data_dir / "blobs")},
        ring=control.services.ring,
        with_keys=False,
        now=control.services.clock.now,
        say=lambda _: None,
    )
    written: list[bytes] = []
    with pytest.raises(db.BROKEN):
        await making.make(source, written.append)
    assert b"manifest.json" not in b"".join(written)


async def test_one_backup_at_a_time(control: Control, dsn: str) -> None:
    first, second = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    async with spared.copying(first):
        with pytest.raises(spared.AnotherBackup):
            async with spared.copying(second, patience=0.1):
                pass
    await first.close()
    await second.close()


async def test_what_is_stored_again_while_a_backup_runs_stays(control: Control, dsn: str) -> None:
    """An executable that is removed and imported again has the same key."""
    binaries, ctx = control.services.binaries, system(control.services)
    await binaries.put("tools/terraform/1.9.0/linux_amd64/digest", once(b"x"))
    connection = await asyncpg.connect(dsn)
    async with spared.copying(connection):
        await binaries.delete("tools/terraform/1.9.0/linux_amd64/digest")
        await binaries.put("tools/terraform/1.9.0/linux_amd64/digest", once(b"x"))
    await connection.close()
    await health_jobs.delete_doomed(ctx)
    assert await binaries.size("tools/terraform/1.9.0/linux_amd64/digest") == 1
