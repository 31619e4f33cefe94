"""State versions, their contents and outputs."""

from terrapod_control_plane.kernel.related import presented
from terrapod_control_plane.kernel.slices import Slice
from terrapod_control_plane.states import api, internal, jobs
from terrapod_control_plane.states.outputs import api as outputs_api
from terrapod_control_plane.states.outputs import internal as outputs
from terrapod_control_plane.states.outputs.schema import OutputDoc
from terrapod_control_plane.states.run_uploads import jobs as run_uploads_jobs
from terrapod_control_plane.states.schema import StateVersionDoc
from terrapod_control_plane.states.uploads import api as uploads_api

SLICE = Slice(
    name="states",
    routes=[*api.ROUTES, *uploads_api.ROUTES, *outputs_api.ROUTES],
    kinds={"sv": "state-versions", "wsout": "state-version-outputs"},
    scopes={"sv": internal.scope, "wsout": internal.output_scope},
    related={
        "state-versions": presented(internal.many, StateVersionDoc),
        "state-version-outputs": presented(outputs.some_outputs, OutputDoc),
    },
    jobs=[jobs.jobs, run_uploads_jobs.jobs],
)
