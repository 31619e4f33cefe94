"""What agents ask with."""

from msgspec import Struct


class Slot(Struct, frozen=True, kw_only=True):
    """An idle slot that asks: its number, the key of the question, the kinds it accepts.

    ``seen`` says which orders the agent knows; nothing when it wants none with its work.
    """

    number: int
    key: str
    accept: str
    seen: str = ""
    root: str = ""

    @property
    def kinds(self) -> list[str]:
        """The kinds of phases; all when nothing is said, none when only unknown ones are named."""
        kinds = ["plan", "apply"]
        named = self.accept.split(",")
        return [kind for kind in kinds if kind in named] if self.accept else kinds


class Named(Struct, frozen=True):
    """An artifact's name and its announced sha256."""

    name: str
    digest: str
