"""Workspaces, their locks and tags, and who reads whose state."""

from terrapod_control_plane.kernel.slices import Slice
from terrapod_control_plane.workspaces import api, internal, views
from terrapod_control_plane.workspaces.deleted import internal as deleted_workspaces
from terrapod_control_plane.workspaces.deleted import jobs as deleted_workspaces_jobs
from terrapod_control_plane.workspaces.events import WorkspaceDeleted
from terrapod_control_plane.workspaces.sharing import api as sharing_api

SLICE = Slice(
    name="workspaces",
    routes=[*api.ROUTES, *sharing_api.ROUTES],
    kinds={"ws": "workspaces"},
    scopes={"ws": internal.scope},
    related={"workspaces": views.related},
    handlers={WorkspaceDeleted: [deleted_workspaces.note]},
    jobs=[deleted_workspaces_jobs.jobs],
)
