"""Routes of holds."""

from litestar import post
from litestar.params import FromPath, JSONBody

from terrapod_control_plane.runs.holds import service as holds_service
from terrapod_control_plane.runs.schema import NO_COMMENT, Comment
from terrapod_control_plane.web.params import Ctx, Query
from terrapod_control_plane.workspaces import views as workspace_views
from terrapod_control_plane.workspaces.schema import WorkspaceDoc


@post("/workspaces/{workspace_id:str}/actions/adopt-state", status_code=200)
async def adopt_state(
    ctx: Ctx, workspace_id: FromPath[str], asked: Query, data: JSONBody[Comment] = NO_COMMENT
) -> WorkspaceDoc:
    """Make the state that a lost apply reached the current one, and end the hold."""
    replace = asked.get("replace") == "true"
    return workspace_views.document(
        ctx, await holds_service.adopt(ctx, workspace_id, replace_newer=replace)
    )


@post("/workspaces/{workspace_id:str}/actions/clear-hold", status_code=200)
async def clear_hold(
    ctx: Ctx, workspace_id: FromPath[str], data: JSONBody[Comment] = NO_COMMENT
) -> WorkspaceDoc:
    """End the hold with the state that the server has."""
    return workspace_views.document(ctx, await holds_service.clear(ctx, workspace_id))


ROUTES = [adopt_state, clear_hold]
