"""How agents join the agents' test server, and renew."""

from abc import ABC, abstractmethod
from datetime import timedelta

from terrapod_common import wire
from terrapod_common.agent_protocol import Code
from tests.kit import authority
from tests.kit.agent_records import Refusal

LISTENER = "lsn-1"


class Enrolling(ABC):
    """Handlers of the calls by which an agent gets its certificates; each one is listener one."""

    def __init__(self) -> None:
        super().__init__()
        self.authority = authority.Authority()
        self.tokens = {"a-join-token"}
        self.listeners: dict[bytes, str] = {}
        self.life = timedelta(hours=1)
        self.renew_after = 3600.0
        self.renewed_after = 3600.0

    @property
    @abstractmethod
    def agent_url(self) -> str:
        """The port with mutual TLS."""

    async def on_join(self, named: dict[str, str], join: wire.Join) -> wire.Joined:
        """Join."""
        if join.join_token not in self.tokens:
            raise Refusal(401, "there is no such join token", Code.JOINING)
        return wire.Joined(
            listener_id=LISTENER,
            pool_id="apool-1",
            certificate=self._issue(join.csr or ""),
            ca_certificate=self.authority.pem,
            agent_url=self.agent_url,
            renew_after_seconds=self.renew_after,
        )

    async def on_nonce(self, named: dict[str, str], _: None) -> wire.Nonce:
        """Nonce."""
        return wire.Nonce(nonce="once-only")

    async def on_renew(self, named: dict[str, str], renew: wire.Renew) -> wire.Renewed:
        """Renew."""
        self.renewed_by_signature = renew.signature is not None
        return wire.Renewed(
            certificate=self._issue(renew.csr),
            ca_certificate=self.authority.pem,
            renew_after_seconds=self.renewed_after,
        )

    def _issue(self, csr: str) -> str:
        certificate = self.authority.sign(csr, self.life)
        self.listeners[authority.fingerprint(certificate)] = LISTENER
        return authority.pem(certificate)
