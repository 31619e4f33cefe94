"""The route of the plan's JSON."""

from litestar import get
from litestar.params import FromPath
from litestar.response import Stream

from terrapod_control_plane.runs.phases.artifacts import service
from terrapod_control_plane.web.params import Ctx
from terrapod_control_plane.web.streams import streamed


@get("/plans/{plan_id:str}/json-output")
async def json_output(ctx: Ctx, plan_id: FromPath[str]) -> Stream:
    """The plan as `terraform show -json` gives it."""
    return await streamed(await service.plan_json(ctx, plan_id), "application/json")


ROUTES = [json_output]
