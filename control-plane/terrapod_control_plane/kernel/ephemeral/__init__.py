"""The store for what may be lost."""

from terrapod_control_plane.kernel.ephemeral.base import Ephemeral
from terrapod_control_plane.kernel.ephemeral.memory import MemoryEphemeral

__all__ = ["Ephemeral", "MemoryEphemeral"]
