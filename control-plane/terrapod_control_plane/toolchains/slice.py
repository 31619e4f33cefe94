"""Executables of terraform and tofu."""

from terrapod_control_plane.kernel.slices import Slice
from terrapod_control_plane.toolchains import api

SLICE = Slice(name="toolchains", routes=api.ROUTES)
