"""Logs before and after they are archived, and that nothing secret lies open anywhere."""

import base64
import json
import random
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, settings
from hypothesis import given as drawn
from hypothesis import strategies as st
from msgspec import Struct

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import system
from terrapod_control_plane.runs.logs import internal as logs
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio

# More than two segments of an archive, in chunks that do not end where segments do.
SIZE, CHUNK = 600_001, 77_777
LOG = random.Random(1).randbytes(SIZE)
FRAMED = b"\x02" + LOG + b"\x03"
PAST = SIZE + 10

WINDOWS = st.tuples(st.integers(0, PAST), st.integers(0, PAST))


def examples(number: int) -> settings:
    """So many draws on one and the same database."""
    return settings(
        max_examples=number,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


class Kept(Struct):
    """A log that can be read, and how."""

    client: Client
    url: str
    phase: str

    async def read(self, offset: int, limit: int) -> bytes:
        answer = await self.client.call("GET", f"{self.url}?limit={limit}&offset={offset}")
        assert answer.status_code == 200, answer.text
        return answer.content


async def planning(agent: Agent) -> dict[str, Any]:
    work = await agent.claim(f"a plan of {agent.id}")
    assert work is not None
    assert (await agent.report(work, "planning")).status_code == 200
    return work


async def sent(agent: Agent, work: dict[str, Any], text: bytes, size: int = CHUNK) -> None:
    for start in range(0, len(text), size):
        said = await agent.send(work, "log", text[start : start + size], f"offset={start}")
        assert said.status_code == 200, said.text


async def log_of(control: Control, api: Client, work: dict[str, Any]) -> Kept:
    shown = await api.get(f"/api/v2/plans/{work['phase_id']}")
    url = shown["data"]["attributes"]["log-read-url"]
    return Kept(await control.client(), url, work["phase_id"])


async def archived(control: Control) -> None:
    await logs.archive(system(control.services))


async def chunks() -> int:
    found: int = await db.value("select count(*) from log_chunks")
    return found


@pytest.fixture
def root(control: Control) -> Path:
    """Where the blobs are."""
    return control.services.settings.data_dir / "blobs"


@pytest.fixture(params=["rows", "blob"])
async def kept(
    request: pytest.FixtureRequest,
    control: Control,
    api: Client,
    listener: Agent,
    workspace: str,
) -> Kept:
    """A whole log, before and after it is archived."""
    await factories.run(api, workspace)
    work = await planning(listener)
    await sent(listener, work, LOG)
    ended = await listener.report(work, "errored", log_size=SIZE)
    assert ended.status_code == 200, ended.text
    if request.param == "blob":
        await archived(control)
    assert (await chunks() == 0) is (request.param == "blob")
    return await log_of(control, api, work)


@examples(40)
@example((0, 1))
@example((0, PAST))
@example((1, SIZE))
@example((SIZE, 1))
@example((SIZE + 1, 1))
@example((SIZE + 2, 5))
@example((256 * 1024, 1))
@example((256 * 1024 + 1, 1))
@drawn(WINDOWS)
async def test_a_window_is_a_cut_of_the_framed_log(kept: Kept, window: tuple[int, int]) -> None:
    offset, limit = window
    assert await kept.read(offset, limit) == FRAMED[offset : offset + limit]


@examples(5)
@drawn(st.integers(50_000, 300_000))
async def test_windows_in_a_row_are_the_framed_log(kept: Kept, size: int) -> None:
    read = b""
    while piece := await kept.read(len(read), size):
        read += piece
    assert read == FRAMED


@examples(12)
@drawn(st.lists(st.binary(min_size=1, max_size=60), max_size=6), st.integers(0, 400))
async def test_an_archived_log_reads_as_before(
    control: Control, api: Client, listener: Agent, parts: list[bytes], offset: int
) -> None:
    await db.execute("delete from workspaces")
    workspace = await factories.workspace(api)
    await factories.configuration(api, workspace)
    await factories.run(api, workspace)
    work = await planning(listener)
    text = b"".join(parts)
    for at, part in zip(_starts(parts), parts, strict=True):
        assert (await listener.send(work, "log", part, f"offset={at}")).status_code == 200
    kept = await log_of(control, api, work)
    assert await kept.read(0, PAST) == b"\x02" + text
    assert await kept.read(len(text) + 1, PAST) == b""
    assert (await listener.report(work, "errored", log_size=len(text))).status_code == 200
    before = [await kept.read(offset, limit) for limit in (1, 7, PAST)]
    assert before[-1] == (b"\x02" + text + b"\x03")[offset:]
    await archived(control)
    assert [await kept.read(offset, limit) for limit in (1, 7, PAST)] == before


def _starts(parts: list[bytes]) -> list[int]:
    return [sum(map(len, parts[:number])) for number in range(len(parts))]


async def test_what_a_lost_agent_said_stays_in_the_log(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    await factories.run(api, workspace)
    first = await planning(listener)
    await sent(listener, first, b"of the first\n")
    control.clock.move(31)
    await control.sweep()
    second = await planning(foreign)
    await sent(foreign, second, b"of the second\n")
    ended = await foreign.report(second, "errored", log_size=len(b"of the second\n"))
    assert ended.status_code == 200, ended.text
    kept = await log_of(control, api, second)
    before = await kept.read(0, PAST)
    assert before.startswith(b"\x02of the first\n")
    assert before.endswith(b"of the second\n\x03")
    await archived(control)
    assert await kept.read(0, PAST) == before


async def test_a_finished_log_becomes_one_blob_with_an_index(
    control: Control, root: Path, kept: Kept
) -> None:
    await archived(control)
    assert await chunks() == 0
    index = await db.value("select log_index from phases where id = $1", kept.phase)
    assert [at for at, _, _ in index] == [0, 256 * 1024, 512 * 1024]
    assert all(one[1] + one[2] == other[1] for one, other in pairwise(index))
    blobs = [path for path in (root / "log").rglob("*") if path.name == kept.phase]
    assert len(blobs) == 1
    stored = blobs[0].read_bytes()
    await archived(control)
    assert blobs[0].read_bytes() == stored


async def test_a_log_that_still_grows_is_not_archived(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace)
    work = await planning(listener)
    await sent(listener, work, b"first ")
    await archived(control)
    assert await chunks() == 1
    said = await listener.send(work, "log", b"second", "offset=6")
    assert said.json() == {"offset": 12}
    kept = await log_of(control, api, work)
    assert await kept.read(0, PAST) == b"\x02first second"


def files(root: Path) -> dict[Path, bytes]:
    """Everything that is stored, as it lies there."""
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


async def rows_as_text() -> str:
    """Every row of every table; bytes are written as hexadecimal digits."""
    tables = await db.rows("select tablename from pg_tables where schemaname = 'public'")
    found = [
        row["text"]
        for table in tables
        for row in await db.rows(f'select t::text as text from "{table["tablename"]}" t')
    ]
    return "\n".join(found)


def told(stored: list[bytes], text: str, rows: str) -> list[str]:
    """In which forms a text lies open."""
    plain = text.encode()
    forms = {
        "plain": plain,
        "hexadecimal": plain.hex().encode(),
        "base64": base64.b64encode(plain),
        "packed": zlib.compress(plain, 6),
    }
    places = [*stored, rows.encode()]
    return [name for name, form in forms.items() if any(form in place for place in places)]


SENSITIVE = {"terraform": "hush-variable-4711", "env": "hush-environment-4711"}
SHOWN = "open-variable-4711"
SAID = "the plan says something at length, so that it is found"
OUTPUTS = {"hidden": "hush-output-4711", "told": "open-output-4711"}


async def everything(api: Client, agent: Agent, workspace: str) -> None:
    """A run with variables, a log, a plan and a state."""
    given = [(SHOWN, "terraform", False)] + [(v, k, True) for k, v in SENSITIVE.items()]
    for number, (value, category, sensitive) in enumerate(given):
        attributes = {"key": f"k{number}", "value": value, "category": category}
        data = {"type": "vars", "attributes": attributes | {"sensitive": sensitive}}
        await api.post(f"/api/v2/workspaces/{workspace}/vars", data)
    one_time = [{"key": "once", "value": '"hush-once-4711"'}]
    run = await factories.run(api, workspace, variables=one_time)
    await factories.plans(agent)
    await api.post(f"/api/v2/runs/{run}/actions/apply")
    work = await factories.starts_apply(agent)
    await sent(agent, work, SAID.encode(), 20)
    outputs = {
        name: {"value": value, "type": "string", "sensitive": name == "hidden"}
        for name, value in OUTPUTS.items()
    }
    body = json.dumps(factories.STATE | {"outputs": outputs}).encode()
    assert (await agent.send(work, "state", body, "final=true")).status_code == 200
    assert (await agent.report(work, "applied")).status_code == 200


@pytest.mark.parametrize("where", ["rows", "blob"])
async def test_nothing_secret_lies_open(
    control: Control, api: Client, listener: Agent, workspace: str, root: Path, where: str
) -> None:
    before = files(root)
    await everything(api, listener, workspace)
    if where == "blob":
        await archived(control)
    stored = [body for path, body in files(root).items() if path not in before]
    # configuration, two artifacts of the plan and the marker of the apply, or a state for one
    assert len(stored) == (5 if where == "blob" else 4)
    rows = await rows_as_text()
    assert workspace in rows
    parts = [SAID[start : start + 20] for start in range(0, len(SAID) - 20, 20)]
    secrets = [*SENSITIVE.values(), SHOWN, "hush-once-4711", *OUTPUTS.values(), SAID, *parts]
    assert {text: told(stored, text, rows) for text in secrets} == {text: [] for text in secrets}
