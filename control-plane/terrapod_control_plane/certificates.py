"""The certificates of both ports: given ones are read again, our own made anew in good time."""

import ssl
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from terrapod_control_plane.kernel.context import Services
from terrapod_control_plane.kernel.crypto.authority import KeyPair
from terrapod_control_plane.web import tls

_DAYS = 365
_ANEW_AFTER = timedelta(days=30)


class ServedCertificates:
    """What both ports show; a connection that is open keeps what it was shown."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._made_at = services.clock.now()
        self._made = self._make()
        self._served: list[tls.Reloadable] = []

    def give(self, public: tls.ListeningSocket, agents: tls.ListeningSocket) -> None:
        """Give the listeners their certificates; raises :class:`tls.ListenFailed`."""
        self._served = [tls.Reloadable(context) for context in self._contexts()]
        public.ssl_context, agents.ssl_context = (served.context for served in self._served)

    async def keep(self) -> None:
        """Renew for as long as the ports are served; runs as a supervised loop."""
        while True:
            await anyio.sleep(self._services.settings.server.certificates_every_seconds)
            self.renew()

    def renew(self) -> None:
        """Show what the files hold now; make our own anew when it is a month old."""
        now = self._services.clock.now()
        if now - self._made_at > _ANEW_AFTER:
            self._made, self._made_at = self._make(), now
        for served, context in zip(self._served, self._contexts(), strict=True):
            served.replace(context)

    def _make(self) -> KeyPair:
        settings = self._services.settings
        urls = (settings.public_url, settings.agent_url)
        hosts = [host for url in urls if (host := urlsplit(url).hostname)]
        names = ["localhost", "127.0.0.1", "::1", *settings.server.names, *hosts]
        authority = self._services.authority
        return authority.issue_server(list(dict.fromkeys(names)), self._services.clock.now(), _DAYS)

    def _contexts(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        server, made = self._services.settings.server, self._made
        if server.tls_cert_file or server.tls_key_file:
            public = _given(server.tls_cert_file, server.tls_key_file)
        else:
            public = tls.public_context(made.cert_pem, made.key_pem)
        ca = self._services.authority.cert_pem
        return public, tls.agent_context(made.cert_pem, made.key_pem, ca)


def _given(cert: Path | None, key: Path | None) -> ssl.SSLContext:
    if cert is None or key is None:
        raise tls.ListenFailed("server.tls_cert_file and server.tls_key_file go together")
    try:
        return tls.public_context(cert.read_bytes(), key.read_bytes())
    except OSError as error:  # ssl.SSLError is one too: no PEM, or not the key of that certificate
        raise tls.ListenFailed(
            f"the certificate {cert} with the key {key} can't be used: {error}"
        ) from error
