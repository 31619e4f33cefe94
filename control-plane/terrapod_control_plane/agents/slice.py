"""Pools of agents, how agents join, and who they are."""

from terrapod_control_plane.agents import api, internal, jobs
from terrapod_control_plane.agents.enrolment import api as enrolment_api
from terrapod_control_plane.kernel.context import AgentDirectory
from terrapod_control_plane.kernel.slices import Slice

SLICE = Slice(
    name="agents",
    routes=api.ROUTES,
    agent_routes=enrolment_api.ROUTES,
    kinds={"apool": "agent-pools", "listener": "listeners"},
    scopes={"apool": internal.pool_scope, "listener": internal.listener_scope},
    jobs=[jobs.jobs],
    by_certificate=internal.holder,
    agent_directory=AgentDirectory(pools=internal.pools_seen, names=internal.names),
)
