"""Which state an apply has left, also where terraform could not write it."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from terrapod_agent.work import state_diff
from terrapod_agent.work.terraform import Counts
from terrapod_common import files, wire
from tests.kit.agent_server import AgentServer
from tests.kit.agents import AgentProcess, apply_phase, phase, quick, running
from tests.kit.disks import small_disk
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio

FAILS = ["exit", 1]
STATE = "../state/workspaces/web/terraform.tfstate"
WHOLE = {"version": 4, "terraform_version": "1.15.5", "serial": 7, "lineage": "l"}


async def ended(server: AgentServer, data: Path, *steps: list[Any], **more: Any) -> Any:
    files = {**script(apply=list(steps)), **more.pop("files", {})}
    apply = server.add(apply_phase(files, **more))
    async with running(quick(data, server)):
        await server.until(lambda: apply.ended)
    return apply


async def test_an_apply_that_fails_before_it_makes_anything_holds_nothing(
    server: AgentServer, data: Path
) -> None:
    apply = await ended(server, data, FAILS)
    assert apply.reports[-1].state_uploaded
    assert not apply.states


@pytest.mark.parametrize(
    "steps",
    [
        [["empty-state"], ["write", "errored.tfstate", ""]],  # the disk was full
        [["empty-state"]],
        [["remove-state"]],
        [["state", 3], ["write", "errored.tfstate", '{"version": 4, "ser']],
        [["state", 3], ["pipe", "errored.tfstate"]],
        [["state", 3], ["folder", "errored.tfstate"]],
        [["remove-state"], ["folder", "errored.tfstate"]],
        [["remove-state"], ["pipe", STATE]],
        [["torn-state"]],
    ],
)
async def test_a_state_that_is_not_whole_is_never_taken_for_the_last_one(
    server: AgentServer, data: Path, steps: list[list[Any]]
) -> None:
    apply = await ended(server, data, *steps, FAILS)
    assert apply.status == "errored"
    assert not apply.reports[-1].state_uploaded
    assert list((data / "phases").iterdir())
    assert ((data.parent / "runs" / "run-1") / "state").is_dir()


@pytest.mark.parametrize("where", [STATE, "errored.tfstate"])
async def test_a_pipe_in_place_of_a_state_keeps_no_restarted_agent_waiting(
    server: AgentServer, data: Path, process: AgentProcess, tmp_path: Path, where: str
) -> None:
    gone = [["remove-state"]] if where == STATE else [["state", 3]]
    deaf = [["ignore-interrupts"], ["touch", f"{tmp_path}/up"], ["wait", "never"]]
    steps = script(apply=[*gone, ["pipe", where], *deaf])
    apply = server.add(apply_phase(steps, limits=wire.Limits(grace_seconds=0.2)))
    process.start()
    await server.until((tmp_path / "up").exists)
    process.send(signal.SIGKILL)
    await process.ended()
    process.start()
    await server.until(lambda: apply.ended)
    last = apply.reports[-1]
    assert (last.status, last.hard, last.state_uploaded) == ("errored", True, False)
    assert last.state_trouble
    process.send(signal.SIGTERM)
    assert await process.ended() == 0
    process.start()  # it finds the pipe there again, and has other work
    plan = server.add(phase("plan", script(), run_id="run-2"))
    await server.until(lambda: plan.ended)
    folders = data / "phases"
    await server.until(lambda: [path.name for path in folders.iterdir()] == ["apply-1.1"])


async def test_a_state_of_the_configuration_is_not_taken_for_one_of_the_apply(
    server: AgentServer, data: Path
) -> None:
    brought = {"errored.tfstate": json.dumps(WHOLE)}
    apply = await ended(server, data, ["state", 3], FAILS, files=brought)
    assert apply.reports[-1].state_uploaded
    assert b'"serial": 3' in apply.states[-1][0]


async def test_what_terraform_could_only_write_beside_is_the_state(
    server: AgentServer, data: Path
) -> None:
    beside = ["write", "errored.tfstate", json.dumps(WHOLE)]
    apply = await ended(server, data, ["empty-state"], beside, FAILS)
    assert apply.reports[-1].state_uploaded
    assert json.loads(apply.states[-1][0])["serial"] == 7


async def test_a_state_that_was_only_printed_is_kept_and_not_shown(
    server: AgentServer, data: Path
) -> None:
    secret = {**WHOLE, "outputs": {"a": {"value": "of the resource"}}}
    steps = [["empty-state"], ["write", "errored.tfstate", ""], ["print", "before"]]
    printed = ["print", json.dumps(secret, indent=2)]
    apply = await ended(server, data, *steps, printed, ["print", "after"], FAILS)
    assert apply.reports[-1].state_uploaded
    assert json.loads(apply.states[-1][0]) == secret
    assert "of the resource" not in apply.text
    assert "before\n(terraform printed the state here" in apply.text
    assert "after\n" in apply.text


async def test_what_lies_beside_after_a_good_end_is_not_the_state(
    server: AgentServer, data: Path
) -> None:
    beside = ["write", "errored.tfstate", json.dumps(WHOLE)]
    apply = await ended(server, data, ["state", 3], beside)
    assert b'"serial": 3' in apply.states[-1][0]


@pytest.mark.needs("root")
async def test_a_copy_for_which_there_is_no_room_does_not_end_the_apply(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    """The disk of the agent is another one than that of the runs."""
    server.every = 0.05
    filled = ["fill", f"{data}/.filler"]
    steps = [filled, ["state", 3], ["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"]]
    apply = server.add(apply_phase(script(apply=[*steps, ["state", 4]])))
    with small_disk(data, 8) as disk:
        async with running(quick(data, server, free_bytes=1024)):
            await server.until((tmp_path / "up").exists)
            await server.until(lambda: "full" in server.heartbeats[-1].trouble)
            beats = len(server.heartbeats)
            await server.until(lambda: len(server.heartbeats) > beats + 5)
            assert not (data / "phases" / "apply-1.1" / "state.whole").exists()
            assert (apply.ended, apply.states) == (False, [])
            disk.free()
            await server.until(lambda: apply.states)
            (tmp_path / "go").touch()
            await server.until(lambda: apply.ended)
            await server.until(lambda: not list((data / "phases").iterdir()))
    assert apply.status == "applied"
    assert [json.loads(content)["serial"] for content, _ in apply.states] == [3, 4]


async def test_a_failed_apply_is_counted_by_its_states(server: AgentServer, data: Path) -> None:
    before = json.dumps({**WHOLE, "resources": [resource("a", {"id": "1"})]}).encode()
    after = {**WHOLE, "serial": 8, "resources": [resource("b", {"id": "2"})]}
    apply = await ended(server, data, ["state-of", after], FAILS, state=before)
    assert apply.states[-1] == (json.dumps(after).encode(), True)
    last = apply.reports[-1]
    assert (last.additions, last.changes, last.destructions) == (1, 0, 1)


def resource(name: str, *values: dict[str, Any], **more: Any) -> dict[str, Any]:
    instances = [{"attributes": value, "index_key": n} for n, value in enumerate(values)]
    return {"mode": "managed", "type": "t", "name": name, "instances": instances, **more}


def state(*resources: dict[str, Any]) -> bytes:
    return json.dumps({"version": 4, "resources": resources}).encode()


ONE = resource("a", {"id": "1", "v": 1})


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        (None, state(ONE), Counts(additions=1)),
        (state(ONE), state(ONE), Counts()),
        (state(ONE), state(), Counts(destructions=1)),
        (state(ONE), state(resource("a", {"id": "1", "v": 2})), Counts(changes=1)),
        # Replaced, and replaced without the old one being gone yet.
        (
            state(ONE),
            state(resource("a", {"id": "2", "v": 1})),
            Counts(additions=1, destructions=1),
        ),
        (
            state(resource("a", {"id": "1"})),
            state(
                {
                    **resource("a"),
                    "instances": [
                        {"attributes": {"id": "2"}, "index_key": 0},
                        {"attributes": {"id": "1"}, "index_key": 0, "deposed": "d"},
                    ],
                }
            ),
            Counts(additions=1),
        ),
        (state(), state(resource("a", {"id": "1"}, mode="data")), Counts()),
        (state(), state(resource("a", {"id": "1"}, module="module.m"), ONE), Counts(additions=2)),
        (state(), b'{"version": 4, "res', Counts()),
    ],
)
def test_what_was_done_is_told_from_two_states(
    before: bytes | None, after: bytes, counts: Counts
) -> None:
    assert state_diff.count_changes(before, after) == counts


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")

    os.mkfifo(tmp_path / "pipe")
    assert files.read_regular(tmp_path / "file") == b"content"
    assert files.read_regular(tmp_path / "file", limit=3) is None
    assert [files.read_regular(tmp_path / name) for name in ("link", "pipe", "no", ".")] == [
        None
    ] * 4
