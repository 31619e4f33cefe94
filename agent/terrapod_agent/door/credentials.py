"""What opens a door: made for one phase, and of no use after it."""

import hmac
import secrets

from msgspec import Struct

from terrapod_agent.work import redact

_PREFIX = "door."


class DoorCredentials(Struct, frozen=True):
    """The password, and the token that stands in the paths of downloads."""

    password: str
    download: str

    @classmethod
    def generate(cls) -> "DoorCredentials":
        """Fresh ones."""
        return cls(_PREFIX + secrets.token_urlsafe(32), secrets.token_urlsafe(32))

    def masks(self) -> set[bytes]:
        """What of them must not show in a log."""
        return redact.forms(self.password) | redact.forms(self.download)


def matches(shown: str, key: str) -> bool:
    """Whether a key was shown, in a time that does not depend on how much of it is right."""
    return hmac.compare_digest(shown.encode(), key.encode())


def is_door_password(shown: str) -> bool:
    """Whether this is the password of some door, which is nobody else's business."""
    return shown.startswith(_PREFIX)
