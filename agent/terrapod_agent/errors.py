"""What can go wrong between agent and server, in words that an operator can act on."""

from collections.abc import Container

from terrapod_common.agent_protocol import Code


class AgentError(Exception):
    """Base of all of it; the text is for people."""


class ServerUnavailable(AgentError):
    """No usable answer came; the same request may work later."""

    def __init__(
        self, text: str, *, retry_after: float | None = None, broken: bool = False
    ) -> None:
        super().__init__(text)
        self.retry_after = retry_after
        self.broken = broken  # the server is there, and fails at this very request


class CertificateRefused(ServerUnavailable):
    """The server ended the connection where it looks at our certificate."""


class RequestDenied(AgentError):
    """The server understood and said no; asking again will not help."""

    def __init__(self, text: str, status: int, detail: str = "", code: Code | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.detail = detail
        self.code = code  # none of a server that gives none, or of one newer than we are

    def means(self, *codes: Code, otherwise: Container[int]) -> bool:
        """Whether it is one of the codes; where there is none, of those statuses."""
        return self.code in codes if self.code else self.status in otherwise


class RequestFailed(RequestDenied):
    """The server fails at this very request, as often as it is asked; later it may not."""


class FenceLost(RequestDenied):
    """The phase is no longer ours; nothing was changed."""


class OperationFailed(AgentError):
    """A phase cannot go on. The text becomes the run's message, and a line of its log as well
    unless terraform itself has ``shown`` there what is wrong.
    """

    def __init__(self, text: str, *, shown: bool = False) -> None:
        super().__init__(text)
        self.shown = shown


class PhaseStopped(AgentError):
    """A phase was told to end before it was done."""


def printable(text: str) -> str:
    """What can be sent and written: the names of files may hold bytes that are no text."""
    return text.encode(errors="replace").decode()
