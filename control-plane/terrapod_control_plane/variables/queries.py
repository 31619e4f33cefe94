"""SQL of variables."""

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.policy import Scope, Where
from terrapod_control_plane.variables.model import Variable
from terrapod_control_plane.variables.tables import Variables

_SCOPE = """
select w.id, w.name, w.owner_id, w.labels
from variables v join workspaces w on w.id = v.workspace_id where v.id = $1
"""


async def scope(id_: str) -> Scope | None:
    """The workspace that a variable belongs to."""
    found = await db.row(_SCOPE, id_)
    if found is None:
        return None
    return Scope(
        where=Where.WORKSPACE,
        id=found["id"],
        name=found["name"],
        owner=found["owner_id"],
        labels=found["labels"],
    )


async def of(workspace: str) -> list[Variable]:
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
