"""A log that comes a line at a time lies in few rows, and no answer opens very many of them."""

from typing import Any

import pytest

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import system
from terrapod_control_plane.runs.logs import internal as logs
from terrapod_control_plane.runs.logs import queries as logs_queries
from terrapod_control_plane.runs.phases.artifacts import internal as artifacts
from terrapod_control_plane.runs.phases.leases.model import LeaseRef
from tests.kit import factories
from tests.kit.control import Agent, Client, Control
from tests.kit.lost import MARK, log_of, lost

pytestmark = pytest.mark.anyio

LARGE = 8 * 1024


async def rows() -> int:
    found: int = await db.value("select count(*) from log_chunks")
    return found


async def said(control: Control, agent: Agent, work: dict[str, Any], *pieces: bytes) -> bytes:
    """The pieces one after the other; all of them together."""
    lease = LeaseRef(listener=agent.id, phase=work["phase_id"], fence=work["fence"])
    at = 0
    for piece in pieces:
        answer = await artifacts.append_log(system(control.services), lease, at, piece)
        at += len(piece)
        assert answer.offset == at
    return b"".join(pieces)


async def url_of(api: Client, work: dict[str, Any]) -> str:
    shown = await api.get(f"/api/v2/plans/{work['phase_id']}")
    url: str = shown["data"]["attributes"]["log-read-url"]
    return url


async def cut(api: Client, url: str, offset: int, limit: int = 1024 * 1024) -> bytes:
    answer = await api.call("GET", f"{url}?offset={offset}&limit={limit}")
    assert answer.status_code == 200
    return answer.content


async def whole(api: Client, url: str) -> tuple[bytes, int]:
    """The log as a reader gets it who reads on where an answer ended; how many answers."""
    found, answers = b"", 0
    while piece := await cut(api, url, len(found)):
        found += piece
        answers += 1
    return found, answers


async def test_a_line_at_a_time_makes_few_rows(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    lines = [b"a line of terraform, number %d\n" % number for number in range(700)]
    text = await said(control, listener, work, *lines)
    assert await rows() < 40
    url = await url_of(api, work)
    assert await whole(api, url) == (b"\x02" + text, 1)
    for offset in (0, 1, 5000, 20_000, len(text) - 3):
        assert await cut(api, url, offset, 700) == (b"\x02" + text)[offset : offset + 700]
    assert (await listener.report(work, "errored", log_size=len(text))).status_code == 200
    await logs.archive(system(control.services))
    assert await rows() == 0
    assert (await whole(api, url))[0] == b"\x02" + text + b"\x03"


async def test_an_answer_opens_so_many_rows_and_the_next_goes_on(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    # Small ones in small groups are left as they are.
    pieces = [*(b"%d" % (number % 10) for number in range(20)), b"x" * LARGE] * 20
    text = await said(control, listener, work, *pieces)
    assert await rows() == len(pieces)
    assert (await listener.report(work, "errored", log_size=len(text))).status_code == 200
    url, framed = await url_of(api, work), b"\x02" + text + b"\x03"
    assert await whole(api, url) == (framed, 2)
    first = await cut(api, url, 0)
    assert framed.startswith(first)
    assert not first.endswith(b"\x03")
    await logs.archive(system(control.services))
    assert await rows() == 0
    assert await whole(api, url) == (framed, 1)


async def test_what_comes_late_is_joined_without_losing_what_an_archive_does_not_have(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    work, ctx = await lost(control, api, listener, workspace), system(control.services)
    lines = [b"late %d\n" % number for number in range(40)]
    at = len(b"begins\n")
    for line in lines[:10]:
        assert (await listener.send(work, "late-log", line, f"offset={at}")).is_success
        at += len(line)
    seen = next(one for one in await logs_queries.to_archive() if one.id == work["phase_id"])
    index: list[tuple[int, int, int]] = []
    await ctx.services.blobs.put(logs._key(seen), logs._compressed(ctx, seen, index))
    for line in lines[10:]:  # with these, rows before and after that moment become one
        assert (await listener.send(work, "late-log", line, f"offset={at}")).is_success
        at += len(line)
    assert await rows() < 20
    await logs_queries.archived(seen.id, index, seen.log_size)
    found = await log_of(api, work["run_id"])
    assert found.startswith("\x02begins\n")
    assert found.endswith(f"{MARK}\r\n{b''.join(lines).decode()}\x03")
