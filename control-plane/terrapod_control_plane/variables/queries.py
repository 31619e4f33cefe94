"""SQL of variables."""

from terrapod_control_plane.kernel import db
from terrapod_control_plane.variables.model import Variable
from terrapod_control_plane.variables.tables import Variables


async def workspace_of(id_: str) -> str | None:
    """The workspace of a variable."""
    found: str | None = await db.value("select workspace_id from variables where id = $1", id_)
    return found


async def in_workspace(workspace: str) -> list[Variable]:
    """The variables of a workspace."""
    return await db.many(
        Variable,
        'select * from variables where workspace_id = $1 order by key collate "C", category',
        workspace,
    )


async def get(workspace: str, id_: str) -> Variable | None:
    """A variable of a workspace."""
    return await db.one(
        Variable, "select * from variables where id = $1 and workspace_id = $2", id_, workspace
    )


async def lock(workspace: str, id_: str) -> Variable | None:
    """A variable that nobody else changes until the end of the transaction."""
    return await db.one(
        Variable,
        "select * from variables where id = $1 and workspace_id = $2 for update",
        id_,
        workspace,
    )


async def insert(new: Variable) -> None:
    """Store a variable."""
    await db.insert(Variables, new)


async def update(changed: Variable) -> None:
    """Write a variable."""
    await db.update(Variables, changed)


async def delete(id_: str) -> None:
    """Remove a variable."""
    await db.execute("delete from variables where id = $1", id_)
