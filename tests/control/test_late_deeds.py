"""Whatever an agent does after its apply was given up: the run and its state stay as they are."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as drawn
from hypothesis import strategies as st

from terrapod_control_plane.kernel import db
from tests.kit import factories
from tests.kit.control import Agent, Client, Control
from tests.kit.lost import MARK, late, log_of, lost, rows

pytestmark = pytest.mark.anyio

SAID = st.fixed_dictionaries(
    {
        "began": st.booleans(),
        "ended": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
        "hard": st.booleans(),
        "state": st.sampled_from(["handed_in", "none", "kept"]),
    }
)
DEEDS = st.one_of(
    st.tuples(st.just("result"), st.integers(-1, 1), SAID),
    st.tuples(st.just("late-log"), st.integers(-1, 1), st.integers(-3, 3)),
    st.tuples(st.just("report"), st.integers(-1, 1), st.sampled_from(["applied", "errored"])),
    st.tuples(st.just("log"), st.integers(-1, 1), st.just(7)),
    st.tuples(st.just("beat"), st.integers(-1, 1), st.booleans()),
)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@drawn(st.lists(DEEDS, max_size=10))
async def test_nothing_but_the_hold_and_the_late_log_ever_changes(
    control: Control, api: Client, listener: Agent, deeds: list[tuple[str, int, Any]]
) -> None:
    await db.execute("delete from workspaces")
    workspace = await factories.workspace(api)
    await factories.configuration(api, workspace)
    work = await lost(control, api, listener, workspace)
    before, log = await rows(), await log_of(api, work["run_id"])
    expected, over = 7, False
    for what, shift, how in deeds:
        refused = bool(shift) and what != "beat"
        stale = work | {"fence": work["fence"] + shift}
        if what == "result":
            answer = await late(listener, stale, **how)
            over = over or not shift
        elif what == "report":
            answer, refused = await listener.report(stale, how), True
        elif what == "beat":
            named = {"phase_id": stale["phase_id"], "fence": stale["fence"]}
            said = {"dropped" if how else "holding": [named]}
            answer = await listener.call("POST", f"{listener.at}/heartbeat", json=said)
        else:
            offset = expected + how if what == "late-log" else how
            answer = await listener.send(stale, what, b"abc", f"offset={max(0, offset)}")
            grows = what == "late-log" and not (shift or how or over)
            expected += 3 if grows else 0
            refused = refused or what == "log" or over
        assert answer.status_code == (409 if refused else 200), answer.text
        assert await rows() == before
    after = await log_of(api, work["run_id"])
    assert after.startswith(log[:-1])
    assert after.count("abc") == (expected - 7) // 3
    assert after.count(MARK) == (over or expected > 7)
