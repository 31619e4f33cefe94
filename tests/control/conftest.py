"""Who calls the control plane, and what there is."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from msgspec.structs import replace

from terrapod_control_plane.kernel.context import Services
from terrapod_control_plane.kernel.locks import LockSession
from tests.kit import factories
from tests.kit.control import Agent, Client, Control
from tests.kit.proxy import Proxy, before_database

As = Callable[[str], Awaitable[Client]]
_ROLES = {"admin": ("admin",), "reader": ("audit",)}


@pytest.fixture
async def fresh(dsn: str) -> AsyncIterator[str]:
    """A database of its own in the cluster."""
    admin = await asyncpg.connect(dsn)
    await admin.execute("create database fresh")
    yield urlunsplit(urlsplit(dsn)._replace(path="/fresh"))
    await admin.execute("drop database fresh with (force)")
    await admin.close()


@pytest.fixture
def between(dsn: str) -> Iterator[Proxy]:
    """A network between a server and its database."""
    proxy = before_database(dsn)
    proxy.start()
    yield proxy
    proxy.close()


@pytest.fixture
async def elsewhere(control: Control, dsn: str) -> AsyncIterator[Services]:
    """The services of another process on the same database, as far as locks go."""
    locks = LockSession(dsn)
    yield replace(control.services, locks=locks)
    await locks.close()


@pytest.fixture
async def as_(control: Control) -> As:
    """A client as: nobody, stranger, owner, reader or admin; the same one for the same name."""
    known: dict[str, Client] = {}

    async def client(name: str) -> Client:
        if name not in known:
            token = (
                None if name == "nobody" else (await control.token(name, *_ROLES.get(name, ())))[1]
            )
            known[name] = await control.client(token)
        return known[name]

    return client


@pytest.fixture
async def api(as_: As) -> Client:
    return await as_("admin")


@pytest.fixture
async def pool(api: Client) -> str:
    return await factories.pool(api)


@pytest.fixture
async def listener(control: Control, api: Client, pool: str) -> Agent:
    return await control.join(api, pool, "first")


@pytest.fixture
async def foreign(control: Control, api: Client, pool: str) -> Agent:
    """Another agent of the same pool."""
    return await control.join(api, pool, "second")


@pytest.fixture
async def workspace(api: Client) -> str:
    """A workspace with a configuration."""
    made = await factories.workspace(api)
    await factories.configuration(api, made)
    return made
