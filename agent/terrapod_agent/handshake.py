"""Closes a connection whose making was given up, which the HTTP client leaves to the collector."""

from typing import Any

import anyio


class Handshake:
    """Watches one request, as the HTTP client's extension ``trace``."""

    def __init__(self) -> None:
        self._stream: Any = None

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """Close what a TLS handshake that was cancelled has left open."""
        if event == "connection.connect_tcp.complete":
            self._stream = info["return_value"]
        elif event == "connection.start_tls.failed" and self._stream is not None:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
