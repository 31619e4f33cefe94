"""The actions that slices declare."""

import importlib
from collections.abc import Mapping
from importlib.util import find_spec

from terrapod_control_plane.app import SLICES
from terrapod_control_plane.kernel.policy import Action


def declared() -> Mapping[str, Action]:
    """Every action by the name of its constant."""
    found: dict[str, Action] = {}
    for slice_ in SLICES:
        name = f"terrapod_control_plane.{slice_.name}.actions"
        if find_spec(name):
            home = vars(importlib.import_module(name))
            found |= {key: value for key, value in home.items() if isinstance(value, Action)}
    return found
