"""The disk of an agent is full: before it takes work, during a plan, during an apply."""

from collections.abc import Iterator

import pytest

from terrapod_agent.settings import AgentSettings
from tests.chaos.blows import at_step
from tests.chaos.history import FINAL, faults
from tests.chaos.world import Place, World, seen
from tests.kit import processes
from tests.kit.disks import Disk, small_disk

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.needs("root"),
]

_MEGABYTES = 400  # terraform itself is most of it
_RUNS_DIR = "TERRAPOD_AGENT_RUNS_DIR"


@pytest.fixture(scope="module")
def disk(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    # Its log lies elsewhere, as with systemd.
    with small_disk(tmp_path_factory.mktemp("small") / "data", _MEGABYTES) as disk:
        yield disk
        world.places["small"].agent.stop()


@pytest.fixture(scope="module")
def place(world: World, disk: Disk) -> Place:
    """An agent whose data and runs lie on the small disk."""
    world.pool_id = world.pool("disks")
    own = {_RUNS_DIR: str(disk.path / "runs")} if _has_place() else {}
    place = world.agent("small", world.pool_id, disk.path.parent, settings=own)
    first = world.run(world.workspace(world.pool_id), ["first"])
    world.settle([first])
    assert world.look(first)["status"] == "applied"
    return place


def _has_place() -> bool:
    return "runs_dir" in AgentSettings.__struct_fields__


@pytest.fixture(autouse=True)
def _room(disk: Disk) -> Iterator[None]:
    yield
    disk.free()


def good_again(world: World, workspace: str) -> None:
    """With room again everything goes on by itself."""
    after = world.run(workspace, ["a", "c"])
    world.settle([after], 120)
    assert world.look(after)["status"] == "applied", world.look(after)["reason"]
    assert faults(world.history([workspace])) == []


def test_a_full_disk_before_the_work(world: World, place: Place, disk: Disk) -> None:
    disk.fill()
    world.blow("disk", lasts=60)
    workspace = world.workspace(world.pool_id)
    run = world.run(workspace, ["a"])
    world.settle([run], 5)
    disk.free()
    world.settle([run], 90)
    assert world.look(run)["status"] in FINAL
    good_again(world, workspace)


@pytest.mark.parametrize("kind", ["plan", "apply"])
@pytest.mark.parametrize("leave", [0, 4096, 100_000])
def test_a_disk_that_fills_up(
    world: World, place: Place, disk: Disk, kind: str, leave: int
) -> None:
    workspace = world.workspace(world.pool_id)
    run = world.run(workspace, ["a", "b"], lines=40)
    assert at_step(place, run, kind, "main", lambda: world.look(run)["status"] in FINAL)
    world.blow("disk", lasts=60)
    disk.fill(leave)
    world.settle([run], 15)
    disk.free()
    world.settle([run], 90)
    assert world.look(run)["status"] in FINAL
    good_again(world, workspace)


def test_a_first_state_for_which_there_is_room_when_terraform_has_ended(
    world: World, place: Place, disk: Disk
) -> None:
    workspace = world.workspace(world.pool_id)
    run = world.run(workspace, ["a", "b"], lines=40)
    assert at_step(place, run, "apply", "main", lambda: world.look(run)["status"] in FINAL)
    world.blow("disk", lasts=60)
    disk.fill()
    seen(lambda: not processes.terraforms(place.pid), "terraform ends")
    disk.free()
    world.settle([run], 90)
    made = {count.key for count in world.counter.counts if count.run == run}
    assert made == {"a", "b"}
    # It is in no state, so the run may not count as applied, and a person has to look.
    assert world.look(run)["status"] == "errored"
    (held,) = (hold for hold in world.holds.values() if hold.run == run)
    assert "the state that its apply reached has not arrived" in held.reason
    good_again(world, workspace)
