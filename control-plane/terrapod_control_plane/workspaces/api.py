"""Routes of workspaces."""

import itertools
from collections.abc import Iterator, Sequence

from litestar import delete, get, patch, post
from litestar.params import FromPath, JSONBody

from terrapod_control_plane.kernel.jsonapi import Compound, Page
from terrapod_control_plane.web.params import Ctx, IncludeParam, PagingParam, Query, listed
from terrapod_control_plane.workspaces import service, views
from terrapod_control_plane.workspaces.model import Tag, Wanted
from terrapod_control_plane.workspaces.schema import (
    BindingDoc,
    BindingIn,
    EffectiveBindingDoc,
    Reason,
    TagDoc,
    TagIn,
    WorkspaceDoc,
    WorkspaceSettings,
)

_NO_REASON = Reason()
_ALL = "/organizations/{organization:str}/workspaces"
_NAMED = "/organizations/{organization:str}/workspaces/{name:str}"
_ONE = "/workspaces/{workspace_id:str}"


def _wanted(asked: Query) -> Wanted:
    return Wanted(
        name=asked.get("search[name]", ""),
        wildcard=asked.get("search[wildcard-name]", ""),
        tags=list(listed(asked.get("search[tags]"))),
        without_tags=list(listed(asked.get("search[exclude-tags]"))),
        tagged=list(_tagged(asked)),
        descending=asked.get("sort", "") == "-name",
    )


def _tagged(asked: Query) -> Iterator[Tag]:
    for number in itertools.count():
        key = asked.get(f"filter[tagged][{number}][key]")
        if not key:
            return
        yield Tag(key, asked.get(f"filter[tagged][{number}][value]", ""))


@post(_ALL)
async def create(
    ctx: Ctx, organization: FromPath[str], data: JSONBody[WorkspaceSettings]
) -> WorkspaceDoc:
    """A new workspace."""
    return views.document(ctx, await service.create(ctx, organization, data.change))


@get(_ALL)
async def page(
    ctx: Ctx, organization: FromPath[str], paging: PagingParam, include: IncludeParam, asked: Query
) -> Compound[WorkspaceDoc]:
    """The workspaces that the caller may see."""
    found = await service.page(ctx, organization, _wanted(asked), paging)
    docs: Page[WorkspaceDoc] = found.holding([views.document(ctx, one) for one in found.items])
    return await include.with_related(ctx, docs)


@get(_NAMED)
async def show_named(
    ctx: Ctx, organization: FromPath[str], name: FromPath[str], include: IncludeParam
) -> Compound[WorkspaceDoc]:
    """A workspace by its name."""
    workspace = await service.show(ctx, await service.id_of(ctx, organization, name))
    return await include.with_related(ctx, views.document(ctx, workspace))


@get(_ONE)
async def show(
    ctx: Ctx, workspace_id: FromPath[str], include: IncludeParam
) -> Compound[WorkspaceDoc]:
    """A workspace."""
    workspace = await service.show(ctx, workspace_id)
    return await include.with_related(ctx, views.document(ctx, workspace))


@patch(_NAMED)
async def update_named(
    ctx: Ctx, organization: FromPath[str], name: FromPath[str], data: JSONBody[WorkspaceSettings]
) -> WorkspaceDoc:
    """Set up a workspace otherwise."""
    id_ = await service.id_of(ctx, organization, name)
    return views.document(ctx, await service.update(ctx, id_, data.change))


@patch(_ONE)
async def update(
    ctx: Ctx, workspace_id: FromPath[str], data: JSONBody[WorkspaceSettings]
) -> WorkspaceDoc:
    """Set up a workspace otherwise."""
    return views.document(ctx, await service.update(ctx, workspace_id, data.change))


@delete(_NAMED)
async def delete_named(ctx: Ctx, organization: FromPath[str], name: FromPath[str]) -> None:
    """Remove a workspace."""
    await service.delete(ctx, await service.id_of(ctx, organization, name))


@delete(_ONE)
async def delete_one(ctx: Ctx, workspace_id: FromPath[str]) -> None:
    """Remove a workspace."""
    await service.delete(ctx, workspace_id)


@post(f"{_NAMED}/actions/safe-delete", status_code=204)
async def safe_delete_named(ctx: Ctx, organization: FromPath[str], name: FromPath[str]) -> None:
    """Remove a workspace that manages nothing."""
    await service.safe_delete(ctx, await service.id_of(ctx, organization, name))


@post(f"{_ONE}/actions/safe-delete", status_code=204)
async def safe_delete(ctx: Ctx, workspace_id: FromPath[str]) -> None:
    """Remove a workspace that manages nothing."""
    await service.safe_delete(ctx, workspace_id)


@post(f"{_ONE}/actions/lock", status_code=200)
async def lock(
    ctx: Ctx, workspace_id: FromPath[str], data: JSONBody[Reason] = _NO_REASON
) -> WorkspaceDoc:
    """Keep a workspace for oneself."""
    return views.document(ctx, await service.lock(ctx, workspace_id, data.reason or ""))


@post(f"{_ONE}/actions/unlock", status_code=200)
async def unlock(ctx: Ctx, workspace_id: FromPath[str]) -> WorkspaceDoc:
    """Give back one's own lock."""
    return views.document(ctx, await service.unlock(ctx, workspace_id))


@post(f"{_ONE}/actions/force-unlock", status_code=200)
async def force_unlock(ctx: Ctx, workspace_id: FromPath[str]) -> WorkspaceDoc:
    """Take away anybody's lock."""
    return views.document(ctx, await service.force_unlock(ctx, workspace_id))


@get(f"{_ONE}/relationships/tags")
async def tags(ctx: Ctx, workspace_id: FromPath[str]) -> Sequence[TagDoc]:
    """The tags without a value."""
    workspace = await service.show(ctx, workspace_id)
    return [TagDoc(id=name, name=name) for name in workspace.tag_names]


@post(f"{_ONE}/relationships/tags", status_code=204)
async def add_tags(ctx: Ctx, workspace_id: FromPath[str], data: JSONBody[list[TagIn]]) -> None:
    """Put tags on a workspace."""
    await service.add_tags(ctx, workspace_id, [Tag(tag.key) for tag in data])


@delete(f"{_ONE}/relationships/tags")
async def remove_tags(ctx: Ctx, workspace_id: FromPath[str], data: JSONBody[list[TagIn]]) -> None:
    """Take tags off a workspace."""
    await service.remove_tags(ctx, workspace_id, [tag.key for tag in data])


@get(f"{_ONE}/tag-bindings")
async def bindings(ctx: Ctx, workspace_id: FromPath[str]) -> Sequence[BindingDoc]:
    """All tags."""
    workspace = await service.show(ctx, workspace_id)
    return [BindingDoc(id=tag.key, key=tag.key, value=tag.value) for tag in workspace.tags]


@get(f"{_ONE}/effective-tag-bindings")
async def effective(ctx: Ctx, workspace_id: FromPath[str]) -> Sequence[EffectiveBindingDoc]:
    """All tags, as the workspace is the only place where they are set."""
    tags_ = (await service.show(ctx, workspace_id)).tags
    return [EffectiveBindingDoc(id=tag.key, key=tag.key, value=tag.value) for tag in tags_]


@patch(f"{_ONE}/tag-bindings")
async def bind(
    ctx: Ctx, workspace_id: FromPath[str], data: JSONBody[list[BindingIn]]
) -> Sequence[BindingDoc]:
    """Put tags on a workspace, beside those that it has."""
    new = [Tag(tag.key, tag.value or "") for tag in data]
    tags_ = (await service.add_tags(ctx, workspace_id, new)).tags
    return [BindingDoc(id=tag.key, key=tag.key, value=tag.value) for tag in tags_]


ROUTES = [
    create,
    page,
    show_named,
    show,
    update_named,
    update,
    delete_named,
    delete_one,
    safe_delete_named,
    safe_delete,
    lock,
    unlock,
    force_unlock,
    tags,
    add_tags,
    remove_tags,
    bindings,
    effective,
    bind,
]
