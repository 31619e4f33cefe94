"""Joins a pool: a key is made here, a token pays for the certificate."""

import platform
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

from terrapod_agent import identity as identities
from terrapod_agent.client import Client
from terrapod_agent.connectivity import Connectivity
from terrapod_agent.errors import OperationFailed
from terrapod_agent.identity import Identity
from terrapod_agent.settings import AgentSettings
from terrapod_common import agent_protocol, wire
from terrapod_common.version import VERSION


async def join(settings: AgentSettings) -> Identity:
    """Ask the server at ``settings.url`` for an identity and keep it."""
    if settings.join_token is None:
        raise OperationFailed("a join token is needed")
    if urlsplit(settings.url).scheme != "https":
        raise OperationFailed(
            f"the address of the server must begin with https:// (got {settings.url!r})"
        )
    name = settings.name or platform.node() or "agent"
    key = identities.new_key()
    question = wire.Join(
        join_token=settings.join_token.reveal(),
        name=name,
        csr=identities.certificate_request(key, name),
        version=VERSION,
    )
    ca = _text(settings.ca_file) if settings.ca_file else ""
    client = Client(settings.url, _trust(ca), settings.waits, Connectivity(quiet=True))
    try:
        joined = await client.call(agent_protocol.JOIN, question)
    finally:
        await client.close()
    identity = Identity(
        name=name,
        server_url=settings.url,
        agent_url=joined.agent_url,
        listener_id=joined.listener_id,
        pool_id=joined.pool_id,
        key=key,
        certificate=joined.certificate,
        ca_certificate=joined.ca_certificate,
        server_ca=ca,
        renew_after_seconds=joined.renew_after_seconds,
        issued_at=time.time(),
    )
    identities.store(settings.data_dir, identity)
    return identity


def _trust(ca: str) -> ssl.SSLContext:
    try:
        return identities.public_context(ca)
    except ssl.SSLError as error:
        raise OperationFailed(
            f"the CA file holds no certificate that can be read: {error}"
        ) from error


def _text(ca_file: Path) -> str:
    try:
        return ca_file.read_text()
    except OSError as error:
        raise OperationFailed(f"the CA file {ca_file} cannot be read: {error.strerror}") from error
