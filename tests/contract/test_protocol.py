"""What the agent may call is what the control plane serves, with the same method and path."""

import re
from typing import Any, cast

import pytest

from terrapod_common.agent_protocol import CALLS, Call
from terrapod_control_plane.app import build
from tests.kit.routes import routes


def shape(path: str) -> str:
    """A path without the names of its parameters."""
    return re.sub(r"\{[^}]*\}", "{}", path)


SERVED = {
    (route.method, shape(route.path)): route.agents for route in routes(build(cast("Any", None)))
}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_every_call_is_served(call: Call[Any, Any]) -> None:
    assert (call.method, shape(call.path)) in SERVED


def test_what_is_only_for_agents_is_a_call() -> None:
    calls = {(call.method, shape(call.path)) for call in CALLS}
    only = {at for at, for_agents in SERVED.items() if for_agents}
    assert only
    assert only <= calls
