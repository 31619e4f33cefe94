"""Runs, their phases, logs and what becomes of them."""

from terrapod_control_plane.configurations.events import ConfigurationUploaded
from terrapod_control_plane.kernel.slices import Slice
from terrapod_control_plane.runs import api, internal, views
from terrapod_control_plane.runs.holds import api as holds_api
from terrapod_control_plane.runs.logs import api as logs_api
from terrapod_control_plane.runs.logs import jobs as logs_jobs
from terrapod_control_plane.runs.phases.artifacts import api as artifacts_api
from terrapod_control_plane.runs.phases.artifacts import jobs as artifacts_jobs
from terrapod_control_plane.runs.phases.leases import jobs as leases_jobs
from terrapod_control_plane.runs.pools import internal as run_pools
from terrapod_control_plane.runs.recovery import api as recovery_api
from terrapod_control_plane.runs.recovery import jobs as recovery_jobs
from terrapod_control_plane.workspaces.events import WorkspaceUnlocked, WorkspaceUpdated

SLICE = Slice(
    name="runs",
    routes=[
        *api.ROUTES,
        *holds_api.ROUTES,
        *logs_api.ROUTES,
        *artifacts_api.ROUTES,
        *recovery_api.ROUTES,
    ],
    kinds={"run": "runs", "plan": "plans", "apply": "applies", "re": "run-events"},
    scopes={"run": internal.scope, "plan": internal.scope, "apply": internal.scope},
    related={
        "runs": views.related,
        "plans": views.related_plans,
        "applies": views.related_applies,
    },
    handlers={
        ConfigurationUploaded: [internal.configuration_uploaded],
        WorkspaceUnlocked: [internal.workspace_unlocked],
        WorkspaceUpdated: [run_pools.workspace_updated],
    },
    jobs=[leases_jobs.jobs, logs_jobs.jobs, recovery_jobs.jobs, artifacts_jobs.jobs],
)
