"""What the database has to offer to every query."""

import pytest

from terrapod_control_plane.kernel import db
from tests.kit.control import Control

pytestmark = pytest.mark.anyio

_UNINDEXED = """
select c.conrelid::regclass::text || '.' || a.attname as name
from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
where c.contype = 'f' and not exists (
    select from pg_index i where i.indrelid = c.conrelid and i.indkey[0] = c.conkey[1])
"""
# One row each, or never deleted.
_FEW = {"organizations.default_agent_pool_id", "workspaces.locked_by"}


async def test_what_is_deleted_with_its_owner_is_found_by_an_index(control: Control) -> None:
    found = {row["name"] for row in await db.rows(_UNINDEXED)}
    assert found <= _FEW
