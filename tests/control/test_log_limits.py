"""How long a log may be, and what an agent is told that goes on with it for too long."""

from typing import Any

import pytest
from msgspec.structs import replace

from terrapod_control_plane.kernel.context import Context, system
from terrapod_control_plane.kernel.errors import TooLarge
from terrapod_control_plane.runs.phases.artifacts import internal as artifacts
from terrapod_control_plane.runs.phases.leases.model import LeaseRef
from terrapod_control_plane.settings import RunsSettings
from tests.kit import factories
from tests.kit.control import Agent, Client, Control
from tests.kit.lost import late, log_of, lost

pytestmark = pytest.mark.anyio

MEGABYTE = 1024 * 1024


def short(control: Control) -> Context:
    """The server, with room for a log of a little more than a megabyte."""
    settings = replace(control.services.settings, runs=RunsSettings(log_bytes=10))
    return system(replace(control.services, settings=settings))


def held(agent: Agent, work: dict[str, Any]) -> LeaseRef:
    return LeaseRef(listener=agent.id, phase=work["phase_id"], fence=work["fence"])


async def test_each_claim_of_a_plan_has_all_of_the_limit_for_its_log(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    """What the agent before had said once made the outcome of its successor too long to take."""
    ctx = short(control)
    run = await factories.run(api, workspace)
    first = await factories.starts_plan(listener, "first")
    await artifacts.append_log(ctx, held(listener, first), 0, b"a" * MEGABYTE)
    control.clock.move(31)
    await control.sweep()
    second = await factories.starts_plan(foreign, "second")
    answer = await artifacts.append_log(ctx, held(foreign, second), 0, b"b" * MEGABYTE)
    assert answer.offset == MEGABYTE
    with pytest.raises(TooLarge):
        await artifacts.append_log(ctx, held(foreign, second), MEGABYTE, b"c" * 11)
    ended = await foreign.report(second, "errored", log_size=MEGABYTE)
    assert ended.status_code == 200, ended.text
    assert await control.status(run) == "errored"


async def test_nothing_is_added_to_a_late_log_after_the_last_word(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    """The same offset was answered for ever, and the agent sent the same again at once."""
    work = await lost(control, api, listener, workspace)
    assert (await late(listener, work)).status_code == 200
    before = await log_of(api, work["run_id"])
    refused = await listener.send(work, "late-log", b"more", "offset=7")
    assert refused.status_code == 409
    assert "has said everything" in refused.text
    asked = await listener.send(work, "late-log", b"", "offset=0")
    assert asked.json() == {"offset": 7}
    assert await log_of(api, work["run_id"]) == before
