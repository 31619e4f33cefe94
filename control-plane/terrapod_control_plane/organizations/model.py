"""The organization."""

from datetime import datetime

from msgspec import Struct

from terrapod_control_plane.kernel.errors import NotFound

NAME = "default"


class Organization(Struct, frozen=True, kw_only=True):
    """The single organization; its name is its id."""

    id: str
    default_agent_pool_id: str | None
    created_at: datetime

    @property
    def default_agent_pool(self) -> str | None:
        """The pool of every remote run whose workspace names none."""
        return self.default_agent_pool_id


def must_exist(name: str) -> None:
    """Refuse any organization but the one there is."""
    if name != NAME:
        raise NotFound(f"There is no organization {name}.")
