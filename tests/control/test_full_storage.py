"""The server's storage is full: everybody is told to come again, and nothing is half stored."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import structlog

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import system
from terrapod_control_plane.runs.logs import internal as logs
from tests.kit import factories
from tests.kit.control import Agent, Client, Control, problems
from tests.kit.disks import Disk, small_disk

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.needs("root"),
]

LARGE = 300_000


@pytest.fixture
def disk(control: Control, data_dir: Path) -> Iterator[Disk]:
    """The place of the blobs, for as long as the test."""
    with small_disk(data_dir / "blobs", 8) as disk:
        yield disk


def large(serial: int) -> bytes:
    """A state that is larger than what is kept in memory."""
    return json.dumps(factories.STATE | {"serial": serial, "x": "x" * LARGE}).encode()


def come_again(answer: httpx.Response) -> None:
    """The answer is clear, and says when to try again."""
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5"), answer.text
    (problem,) = problems(answer)
    assert "storage takes nothing: No space left on device" in problem["detail"]


def stored(disk: Disk) -> list[str]:
    """All files of the blobs, finished or not."""
    found = [path for path in disk.path.rglob("*") if path.is_file() and path.name != ".filler"]
    return sorted(str(path.relative_to(disk.path)) for path in found)


@pytest.mark.parametrize("left", [0, 100_000])
async def test_a_state_is_refused_as_a_whole_and_taken_when_there_is_room(
    control: Control, api: Client, listener: Agent, workspace: str, disk: Disk, left: int
) -> None:
    run = await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    work = await factories.starts_apply(listener)
    assert (await listener.send(work, "state", large(4))).status_code == 200
    before = stored(disk)
    disk.fill(left)
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            come_again(await listener.send(work, "state", large(5), "final=true"))
    told = [line for line in lines if line["event"] == "nothing can be stored"]
    assert len(told) == 2
    assert not any(line.get("exc_info") for line in lines)
    assert stored(disk) == before
    shown = await api.get(f"/api/v2/workspaces/{workspace}/current-state-version")
    assert shown["data"]["attributes"]["serial"] == 4
    assert await control.status(run) == "applying"
    disk.free()
    assert (await listener.send(work, "state", large(5), "final=true")).status_code == 200
    assert (await listener.report(work, "applied")).status_code == 200
    assert await control.status(run) == "applied"
    shown = await api.get(f"/api/v2/workspaces/{workspace}/current-state-version")
    content = await api.call("GET", shown["data"]["attributes"]["hosted-state-download-url"])
    assert (shown["data"]["attributes"]["serial"], content.content) == (5, large(5))
    assert (await api.get(f"/api/v2/workspaces/{workspace}"))["data"]["attributes"]["hold"] is None


async def test_what_people_upload_is_refused_and_can_be_sent_again(
    api: Client, workspace: str, disk: Disk
) -> None:
    _, url = await factories.upload_url(api, workspace)
    disk.fill()
    come_again(await api.call("PUT", url, content=factories.archive()))
    assert stored(disk) == []
    disk.free()
    assert (await api.call("PUT", url, content=factories.archive())).status_code == 200


async def test_a_log_stays_where_it_is_until_there_is_room(
    control: Control, api: Client, listener: Agent, workspace: str, disk: Disk
) -> None:
    run = await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    disk.fill()
    text = b"".join(b"line %d\n" % number for number in range(20_000))
    assert (await listener.send(work, "log", text, "offset=0")).status_code == 200
    ended = await listener.report(work, "errored", log_size=len(text))
    assert ended.status_code == 200
    await logs.archive(system(control.services))
    assert stored(disk) == []
    assert await db.value("select count(*) from log_chunks") > 0
    plan = (await api.get(f"/api/v2/runs/{run}/plan"))["data"]["attributes"]
    url = f"{plan['log-read-url']}?limit={len(text) + 10}&offset=0"
    assert text in (await api.call("GET", url)).content
    disk.free()
    await logs.archive(system(control.services))
    assert len(stored(disk)) == 1
    assert await db.value("select count(*) from log_chunks") == 0
    assert text in (await api.call("GET", url)).content
