"""Configuration versions and their archives."""

from terrapod_control_plane.configurations import api, internal
from terrapod_control_plane.configurations.schema import ConfigurationDoc
from terrapod_control_plane.kernel.related import presented
from terrapod_control_plane.kernel.slices import Slice

SLICE = Slice(
    name="configurations",
    routes=api.ROUTES,
    kinds={"cv": "configuration-versions"},
    scopes={"cv": internal.scope},
    related={"configuration-versions": presented(internal.many, ConfigurationDoc)},
)
