"""A connection that is given up before it is there leaves nothing open."""

import ssl

import anyio
import pytest
from anyio.abc import SocketStream

from terrapod_agent.client import Client
from terrapod_agent.connectivity import Connectivity
from terrapod_agent.settings import Waits
from terrapod_common import agent_protocol

pytestmark = pytest.mark.anyio


async def test_a_handshake_that_is_cancelled_is_hung_up() -> None:
    ended, begun = anyio.Event(), anyio.Event()

    async def silent(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()  # the client's first words, which are never answered
            begun.set()
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()
            ended.set()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    client = Client(
        f"https://127.0.0.1:{port}", ssl.create_default_context(), Waits(), Connectivity()
    )
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, silent)
        async with anyio.create_task_group() as asking:
            asking.start_soon(client.call_optional, agent_protocol.NONCE, None)
            await begun.wait()
            asking.cancel_scope.cancel()
        with anyio.fail_after(5):
            await ended.wait()
        tasks.cancel_scope.cancel()
    await client.close()
