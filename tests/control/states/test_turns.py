"""A state with very many outputs is stored and read, and others have their turn meanwhile."""

import gc
import hashlib
import json
from collections.abc import Iterator
from threading import get_ident
from time import thread_time

import anyio
import anyio.lowlevel
import pytest
from msgspec.structs import replace

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import system
from terrapod_control_plane.kernel.crypto.keys import KeyRing
from terrapod_control_plane.kernel.pages import Paging
from terrapod_control_plane.states import content, packing
from terrapod_control_plane.states.outputs import service as outputs_service
from tests.kit import factories
from tests.kit.control import Client, Control

pytestmark = pytest.mark.anyio

MANY = 40_000


def many() -> bytes:
    """A state with so many outputs, whose values can't be packed much smaller."""
    made = {
        f"o{n:06}": {"value": hashlib.sha256(b"%d" % n).hexdigest(), "type": "string"}
        for n in range(MANY)
    }
    return json.dumps(factories.STATE | {"outputs": made}).encode()


async def pushed(api: Client, workspace: str, body: bytes) -> str:
    """The id of a version whose content a person has uploaded."""
    given = {"serial": 1, "md5": hashlib.md5(body).hexdigest()}
    path = f"/api/v2/workspaces/{workspace}/state-versions"
    made = await api.post(path, {"type": "state-versions", "attributes": given})
    url = made["data"]["attributes"]["hosted-state-upload-url"]
    assert (await api.call("PUT", url, content=body)).status_code == 204
    id_: str = made["data"]["id"]
    return id_


class Here(KeyRing):
    """A key ring that counts the bytes that pass it in the thread of the event loop."""

    loop = 0
    passed = 0

    def seal(self, plain: bytes, context: str) -> bytes:
        self._count(plain)
        return super().seal(plain, context)

    def open(self, sealed: bytes, context: str) -> bytes:
        self._count(sealed)
        return super().open(sealed, context)

    def _count(self, content: bytes) -> None:
        if get_ident() == self.loop:
            self.passed += len(content)


class Turns:
    """What is done in the event loop from one of its turns to the next."""

    def __init__(self, ring: Here) -> None:
        self.ring = ring
        self.shown = 0  # outputs, of this turn
        self.most_shown = 0
        self.most_passed = 0
        self.longest = 0.0  # seconds of a processor, whatever else the machine does

    async def go_on(self) -> None:
        """Count until it is canceled."""
        before = thread_time()
        while True:
            await anyio.lowlevel.checkpoint()
            self.longest = max(self.longest, thread_time() - before)
            self.most_shown = max(self.most_shown, self.shown)
            self.most_passed = max(self.most_passed, self.ring.passed)
            self.shown = self.ring.passed = 0
            before = thread_time()


@pytest.fixture
def without_collections() -> Iterator[None]:
    """What Python collects of all tests before would count as work of this one."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collections")
async def test_little_is_done_between_two_turns_while_many_outputs_are_stored_and_read(
    control: Control, api: Client, workspace: str
) -> None:
    body = many()
    began = thread_time()
    content.parsed(body)
    whole = thread_time() - began
    ring = Here.parse(control.services.ring.export())
    ring.loop, turns = get_ident(), Turns(ring)
    ctx = system(replace(control.services, ring=ring))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turns.go_on)
        version = await pushed(api, workspace, body)
        # It is stored once more, by the ring that counts.
        await db.execute("delete from state_excerpts")
        await db.execute("update state_versions set output_count = null")
        for number in (1, 200, 400):
            await outputs_service.outputs(ctx, version, Paging(number, 100))
        async for some in await outputs_service.current_outputs(ctx, workspace):
            turns.shown += len(some)
        tasks.cancel_scope.cancel()
    assert turns.most_shown == packing.IN_ONE
    assert 0 < turns.most_passed <= 64 * 1024
    assert turns.longest < whole / 2, "the whole state was read in the event loop"
