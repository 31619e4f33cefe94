"""Places to back up and to restore into, beside the control plane of the worker."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from tests.kit import factories
from tests.kit.backups import Place
from tests.kit.control import Agent, Client, Control


@pytest.fixture
async def here(control: Control, data_dir: Path, dsn: str) -> Place:
    """What is backed up."""
    return Place(dsn, data_dir)


@pytest.fixture
async def there(fresh: str, tmp_path: Path) -> Place:
    """An empty place."""
    return Place(fresh, tmp_path / "there")


@pytest.fixture
async def another(dsn: str, tmp_path: Path) -> AsyncIterator[Place]:
    """One more empty place."""
    admin = await asyncpg.connect(dsn)
    await admin.execute("create database another")
    yield Place(urlunsplit(urlsplit(dsn)._replace(path="/another")), tmp_path / "another")
    await admin.execute("drop database another with (force)")
    await admin.close()


@pytest.fixture
async def run(api: Client, listener: Agent, workspace: str) -> str:
    """A run that was applied: with a configuration, artifacts, a log and a state."""
    data = {"key": "k", "value": "hush", "category": "env", "sensitive": True}
    await api.post(f"/api/v2/workspaces/{workspace}/vars", {"type": "vars", "attributes": data})
    made = await factories.run(api, workspace)
    await factories.plans(listener)
    await api.post(f"/api/v2/runs/{made}/actions/apply")
    await factories.applies(listener)
    return made
