"""A server that takes no more of a log is not sent the same for ever."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from terrapod_common import wire
from tests.kit.agent_server import AgentServer
from tests.kit.agents import apply_phase, quick, running, serving
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio


class DeafServer(AgentServer):
    """Answers each piece of a late log with the same offset."""

    async def on_late_log(self, named: dict[str, str], body: bytes) -> wire.LogAnswer:
        """Nothing is taken."""
        self._given_up(named)
        return wire.LogAnswer(offset=0)


@pytest.fixture
async def deaf(tmp_path: Path) -> AsyncIterator[DeafServer]:
    (tmp_path / "server").mkdir()
    async with serving(DeafServer(tmp_path / "server")) as server:
        yield server


async def test_what_became_of_an_apply_is_told_though_its_log_is_not_taken(
    deaf: DeafServer, data: Path, tmp_path: Path
) -> None:
    deaf.every = 0.05
    steps = [["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"], ["print", "the rest"]]
    apply = deaf.add(apply_phase(script(apply=[*steps, ["exit", 1]])))
    async with running(quick(data, deaf)):
        await deaf.until((tmp_path / "up").exists)
        apply.fence += 1
        beats = len(deaf.heartbeats)
        await deaf.until(lambda: len(deaf.heartbeats) > beats + 2)
        (tmp_path / "go").touch()
        await deaf.until(lambda: apply.late)
    # One asks where the server is; what follows was sent once.
    assert deaf.calls.count("late_log") == 2
