"""Gets the next certificate in time, and late as well."""

import base64

import anyio
import structlog

from terrapod_agent import identity as identities
from terrapod_agent.client import Client
from terrapod_agent.connectivity import Connectivity
from terrapod_agent.errors import CertificateRefused, RequestDenied
from terrapod_agent.identity import Identity
from terrapod_agent.retry import retry
from terrapod_agent.settings import AgentSettings
from terrapod_common import agent_protocol, wire
from terrapod_common.agent_protocol import Code

log = structlog.get_logger()
_LOOK = 60.0  # the machine may have slept meanwhile, so one long wait would be too long


class Renewal:
    """Holds the identity of this process and keeps its certificate fresh."""

    def __init__(self, identity: Identity, client: Client, settings: AgentSettings) -> None:
        self.identity = identity
        self._client = client
        self._settings = settings

    async def run(self) -> None:
        """Renew each time that it is due."""
        while True:
            while (left := self.identity.renew_in()) > 0:  # noqa: ASYNC110 - time is what we wait for
                await anyio.sleep(min(left, _LOOK))
            await self.renew()

    async def renew(self) -> None:
        """Get the next certificate now."""
        answer = await retry(self._once, self._settings.backoff())
        self.identity = self.identity.renewed(answer)
        identities.store(self._settings.data_dir, self.identity)
        context = identities.agent_context(self._settings.data_dir, self.identity)
        await self._client.use_certificate(context)
        log.info("the certificate was renewed", ends=self.identity.expires().isoformat())

    async def _once(self) -> wire.Renewed:
        identity = self.identity
        csr = identities.certificate_request(identity.key, identity.name)
        if not identity.expired():
            try:
                return await self._client.call(agent_protocol.RENEW, wire.Renew(csr=csr))
            except CertificateRefused:
                log.warning("the certificate seems to be refused, trying the public port")
            except RequestDenied as denied:
                by_key_alone = (Code.CERTIFICATE, Code.UNKNOWN_LISTENER, Code.OTHER_KEY)
                if not denied.means(*by_key_alone, otherwise={401, 403}):
                    raise
        return await self._late(csr)

    async def _late(self, csr: str) -> wire.Renewed:
        """With a certificate that has ended the key alone has to prove who we are."""
        trust = identities.public_context(self.identity.server_ca)
        url, listener = self.identity.server_url, self.identity.listener_id
        client = Client(url, trust, self._settings.waits, Connectivity(), listener)
        try:
            nonce = (await client.call(agent_protocol.NONCE, None)).nonce
            signature = identities.sign(self.identity.key, f"{nonce}\n{csr}")
            question = wire.Renew(
                csr=csr, nonce=nonce, signature=base64.b64encode(signature).decode()
            )
            return await client.call(agent_protocol.RENEW, question)
        finally:
            await client.close()
