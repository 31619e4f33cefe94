"""Routes of variables."""

from collections.abc import Sequence

from litestar import delete, get, patch, post
from litestar.params import FromPath, JSONBody

from terrapod_control_plane.kernel.jsonapi import present
from terrapod_control_plane.variables import service
from terrapod_control_plane.variables.model import NewVariable, VariableChange
from terrapod_control_plane.variables.schema import VariableCreate, VariableDoc, VariableUpdate
from terrapod_control_plane.web.params import Ctx

_ALL = "/workspaces/{workspace_id:str}/vars"
_ONE = "/workspaces/{workspace_id:str}/vars/{variable_id:str}"


@post(_ALL)
async def create(
    ctx: Ctx, workspace_id: FromPath[str], data: JSONBody[VariableCreate]
) -> VariableDoc:
    """A new variable."""
    return present(await service.create(ctx, workspace_id, data.into(NewVariable)), VariableDoc)


@get([_ALL, "/workspaces/{workspace_id:str}/all-vars"])
async def index(ctx: Ctx, workspace_id: FromPath[str]) -> Sequence[VariableDoc]:
    """All variables of a workspace; clients read no second page of them."""
    return [present(found, VariableDoc) for found in await service.index(ctx, workspace_id)]


@get(_ONE)
async def show(ctx: Ctx, workspace_id: FromPath[str], variable_id: FromPath[str]) -> VariableDoc:
    """A variable."""
    return present(await service.show(ctx, workspace_id, variable_id), VariableDoc)


@patch(_ONE)
async def update(
    ctx: Ctx,
    workspace_id: FromPath[str],
    variable_id: FromPath[str],
    data: JSONBody[VariableUpdate],
) -> VariableDoc:
    """Change a variable."""
    return present(
        await service.update(ctx, workspace_id, variable_id, data.into(VariableChange)), VariableDoc
    )


@delete(_ONE)
async def remove(ctx: Ctx, workspace_id: FromPath[str], variable_id: FromPath[str]) -> None:
    """Remove a variable."""
    await service.delete(ctx, workspace_id, variable_id)


ROUTES = [create, index, show, update, remove]
