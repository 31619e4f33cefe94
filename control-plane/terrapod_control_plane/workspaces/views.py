"""Workspaces as documents."""

from collections.abc import Sequence

from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jsonapi import present
from terrapod_control_plane.kernel.policy import Actor
from terrapod_control_plane.workspaces import internal
from terrapod_control_plane.workspaces.model import Workspace, permissions
from terrapod_control_plane.workspaces.schema import WorkspaceDoc


def present_workspace(workspace: Workspace, actor: Actor) -> WorkspaceDoc:
    """A workspace with what this caller may do with it."""
    doc = present(workspace, WorkspaceDoc)
    doc.permissions = permissions(actor, workspace.scope)
    doc.vcs_working_directory = workspace.working_directory
    doc.workspace_kpis_runs_count = workspace.runs_count
    doc.setting_overwrites["agent-pool"] = workspace.agent_pool_id is not None
    doc.owner = workspace.owner_id
    doc.agent_pool = workspace.agent_pool_id
    doc.locked_by = workspace.holder
    doc.current_run = workspace.current_run_id
    doc.current_state_version = workspace.current_state_version_id
    doc.current_configuration_version = workspace.current_configuration_version_id
    return doc


def document(ctx: Context, workspace: Workspace) -> WorkspaceDoc:
    """The workspace as the caller is shown it."""
    return present_workspace(workspace, ctx.actor)


async def related(ctx: Context, wanted: Sequence[str]) -> list[WorkspaceDoc]:
    """What `?include=` shows of the workspaces that the caller may see."""
    return [present_workspace(found, ctx.actor) for found in await internal.many(ctx, wanted)]
