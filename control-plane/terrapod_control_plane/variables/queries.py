"""SQL of variables."""

from terrapod_control_plane.kernel import unit_of_work
from terrapod_control_plane.kernel.repository import Repository
from terrapod_control_plane.variables.model import Variable
from terrapod_control_plane.variables.tables import Variables

VARIABLES = Repository(Variables, Variable)


# The workspace of a variable, for whoever knows what may be done there.
WORKSPACE_OF = "select workspace_id from variables where id = $1"


async def in_workspace(workspace: str) -> list[Variable]:
    """The variables of a workspace."""
    return await VARIABLES.where('workspace_id = $1 order by key collate "C", category', workspace)


async def get(workspace: str, id_: str) -> Variable | None:
    """A variable of a workspace."""
    return _within(workspace, await VARIABLES.get(id_))


async def lock(workspace: str, id_: str) -> Variable | None:
    """A variable that nobody else changes until the end of the transaction."""
    return _within(workspace, await unit_of_work.lock(VARIABLES, id_))


def _within(workspace: str, found: Variable | None) -> Variable | None:
    return found if found is not None and found.workspace_id == workspace else None


async def insert(new: Variable) -> None:
    """Store a variable."""
    await VARIABLES.insert(new)


def save(old: Variable, new: Variable) -> None:
    """Write what differs of a locked variable, at the end of the transaction."""
    unit_of_work.save(VARIABLES, old, new)


async def delete(id_: str) -> None:
    """Remove a variable."""
    await VARIABLES.delete(id_)
