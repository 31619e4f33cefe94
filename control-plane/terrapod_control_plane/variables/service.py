"""Use cases of variables."""

import re
import secrets

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from terrapod_control_plane.kernel import db, ids
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Conflict, NotFound, Unprocessable
from terrapod_control_plane.variables import internal, queries
from terrapod_control_plane.variables.events import (
    VariableCreated,
    VariableDeleted,
    VariableUpdated,
)
from terrapod_control_plane.variables.model import (
    NewVariable,
    ReadableVariable,
    Variable,
    VariableChange,
)
from terrapod_control_plane.workspaces.actions import VARIABLE_READ, VARIABLE_WRITE

_TAKEN = "Key has already been taken."
_KEY = "/data/attributes/key"
_IDENTIFIER = re.compile(r"[^\W\d][\w-]*")
_ENVIRONMENT = re.compile(r"[^=\s\0]+")


async def create(ctx: Context, workspace: str, wanted: NewVariable) -> ReadableVariable:
    """A new variable of a workspace."""
    await ctx.must(VARIABLE_WRITE, workspace)
    id_ = ids.new("var")
    made = Variable(
        id=id_,
        workspace_id=workspace,
        key=wanted.key,
        sealed=_sealed(ctx, id_, wanted.value or ""),
        category=wanted.category,
        hcl=wanted.hcl,
        sensitive=wanted.sensitive,
        description=wanted.description or "",
        version_id=_new_version(),
        created_at=ctx.now(),
    )
    try:
        async with db.transaction():
            await queries.insert(_valid(made))
            await ctx.emit(VariableCreated(variable=id_, workspace=workspace, key=made.key))
    except db.Duplicate as error:
        raise Conflict(_TAKEN, pointer=_KEY) from error
    return _readable(ctx, made)


def _valid(variable: Variable) -> Variable:
    if variable.category == "terraform" and not _IDENTIFIER.fullmatch(variable.key):
        raise Unprocessable(
            "The key of a terraform variable has letters, digits, - and _, and does not begin "
            "with a digit or -.",
            pointer=_KEY,
        )
    if variable.category == "env" and not _ENVIRONMENT.fullmatch(variable.key):
        raise Unprocessable("The key of an env variable has no = and no spaces.", pointer=_KEY)
    return variable


async def index(ctx: Context, workspace: str) -> list[ReadableVariable]:
    """The variables of a workspace."""
    await ctx.must(VARIABLE_READ, workspace)
    return [_readable(ctx, found) for found in await queries.in_workspace(workspace)]


async def show(ctx: Context, workspace: str, id_: str) -> ReadableVariable:
    """A variable of a workspace."""
    await ctx.must(VARIABLE_READ, workspace)
    return _readable(ctx, _found(await queries.get(workspace, id_), id_))


async def update(
    ctx: Context, workspace: str, id_: str, change: VariableChange
) -> ReadableVariable:
    """Change a variable of a workspace."""
    await ctx.must(VARIABLE_WRITE, workspace)
    try:
        async with db.transaction():
            old = _found(await queries.lock(workspace, id_), id_)
            new = _valid(_changed(ctx, old, change))
            queries.save(old, new)
            await ctx.emit(VariableUpdated(variable=id_, workspace=workspace, key=new.key))
    except db.Duplicate as error:
        raise Conflict(_TAKEN, pointer=_KEY) from error
    return _readable(ctx, new)


async def delete(ctx: Context, workspace: str, id_: str) -> None:
    """Remove a variable of a workspace."""
    await ctx.must(VARIABLE_WRITE, workspace)
    async with db.transaction():
        old = _found(await queries.lock(workspace, id_), id_)
        await queries.delete(id_)
        await ctx.emit(VariableDeleted(variable=id_, workspace=workspace, key=old.key))


def _changed(ctx: Context, old: Variable, change: VariableChange) -> Variable:
    disclosed = old.sensitive and change.sensitive is False
    if disclosed and change.value is UNSET:
        raise Unprocessable(
            "A sensitive value is never shown again: give a new value to make it readable.",
            pointer="/data/attributes/sensitive",
        )
    sealed = old.sealed
    if not isinstance(change.value, UnsetType):
        sealed = _sealed(ctx, old.id, change.value or "")
    description = old.description if change.description is UNSET else change.description or ""
    return replace(
        old,
        key=old.key if change.key is UNSET else change.key,
        sealed=sealed,
        description=description,
        category=old.category if change.category is UNSET else change.category,
        hcl=old.hcl if change.hcl is UNSET else change.hcl,
        sensitive=old.sensitive if change.sensitive is UNSET else change.sensitive,
        version_id=_new_version(),
    )


def _found(found: Variable | None, id_: str) -> Variable:
    if found is None:
        raise NotFound(f"There is no {id_}.")
    return found


def _readable(ctx: Context, variable: Variable) -> ReadableVariable:
    return ReadableVariable(
        id=variable.id,
        key=variable.key,
        value=None if variable.sensitive else internal.opened(ctx, variable),
        category=variable.category,
        hcl=variable.hcl,
        sensitive=variable.sensitive,
        description=variable.description,
        version_id=variable.version_id,
        created_at=variable.created_at,
        configurable=variable.workspace_id,
    )


def _sealed(ctx: Context, id_: str, value: str) -> bytes:
    return ctx.services.ring.seal(value.encode(), f"variable:{id_}")


def _new_version() -> str:
    return secrets.token_hex(16)
