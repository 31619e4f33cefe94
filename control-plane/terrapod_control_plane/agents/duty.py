"""What a listener does all day: beat, take work, follow orders. Every call is its own only."""

from functools import partial

import anyio
from msgspec import Struct

from terrapod_common import wire
from terrapod_control_plane.agents import queries
from terrapod_control_plane.kernel import ids
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Unauthorized
from terrapod_control_plane.kernel.policy import Action
from terrapod_control_plane.runs.recovery import service as recovery
from terrapod_control_plane.runs.work import service as work
from terrapod_control_plane.runs.work.service import Claimer, Phase, Run
from terrapod_control_plane.toolchains import service as toolchains
from terrapod_control_plane.toolchains.service import Platform
from terrapod_control_plane.variables import service as variables
from terrapod_control_plane.workspaces import service as workspaces
from terrapod_control_plane.workspaces.service import Workspace

_LONGEST_PATH = 4096


async def beat(ctx: Context, listener: str, said: wire.Beat) -> wire.BeatAnswer:
    """Note that the agent lives, renew what it holds, tell it what it has lost."""
    await ctx.must(Action.LISTENER_ACT, listener)
    await queries.seen(listener, said, ctx.now())
    if said.dropped:
        await work.dropped(ctx, listener, said.dropped)
    if said.kept is not None:
        await work.returned(ctx, listener, said.kept)
    leases = await work.renew(ctx, listener, said.holding)
    lost = [held for held in said.holding if held.phase_id not in leases]
    await recovery.shown_by_agent(ctx, listener, lost)
    settings = ctx.settings.agents
    busy = bool(said.holding)
    return wire.BeatAnswer(
        every_seconds=settings.beat_busy_seconds if busy else settings.beat_idle_seconds,
        leases=leases,
        lost=[held.phase_id for held in lost],
        # An order is about a phase that the agent holds.
        orders=await work.orders(ctx, listener) if busy else [],
    )


async def orders(ctx: Context, listener: str, wait: float, seen: str) -> wire.Orders:
    """The orders that stand; at once when they are not those that the agent has seen."""
    await ctx.must(Action.LISTENER_ACT, listener)

    async def attempt() -> wire.Orders | None:
        found = await work.orders(ctx, listener)
        return wire.Orders(orders=found) if wire.seen(found) != seen else None

    wait = min(wait, ctx.settings.agents.longest_wait_seconds)
    found = await ctx.services.bus.first(f"orders:{listener}", attempt, wait)
    return found or wire.Orders(orders=await work.orders(ctx, listener))


class Slot(Struct, frozen=True, kw_only=True):
    """An idle slot that asks: its number, the key of the question, the kinds it accepts.

    ``seen`` says which orders the agent knows; nothing when it wants none with its work.
    """

    number: int
    key: str
    accept: str
    seen: str = ""
    root: str = ""

    @property
    def kinds(self) -> list[str]:
        """The kinds of phases; all when nothing is said, none when only unknown ones are named."""
        kinds = ["plan", "apply"]
        named = self.accept.split(",")
        return [kind for kind in kinds if kind in named] if self.accept else kinds


async def next_work(ctx: Context, listener: str, slot: Slot, wait: float) -> wire.Next | None:
    """A phase for an idle slot or an order for its agent, or nothing when neither came in time."""
    await ctx.must(Action.LISTENER_ACT, listener)
    claimer = Claimer(
        listener=listener,
        pool=ctx.actor.pool,
        slot=slot.number,
        # Without a key a lost answer cannot be asked again, but every question is its own.
        key=slot.key[:100] or ids.new("re"),
        accept=slot.kinds,
        root=slot.root.replace("\0", "")[:_LONGEST_PATH] or None,
    )
    wait = min(wait, ctx.settings.agents.longest_wait_seconds)
    found: Phase | wire.Orders | None = None
    # Who asks again has given up the question before; without a number a slot is any slot.
    asker = f"{listener} {slot.number if slot.number >= 0 else claimer.key}"
    with ctx.services.bus.alone(asker):
        found = await _claimed_or_ordered(ctx, claimer, wait, slot.seen)
    if found is None:
        return None
    if isinstance(found, wire.Orders):
        return wire.Next(orders=found.orders, drain=found.drain)
    asking = await queries.listener(listener)
    return wire.Next(work=await _work(ctx, found, asking.platform if asking else ""))


async def _claimed_or_ordered(
    ctx: Context, claimer: Claimer, wait: float, seen: str
) -> Phase | wire.Orders | None:
    deadline, still = anyio.current_time() + wait, partial(_still_welcome, ctx)
    if not seen:
        return await work.claim(ctx, claimer, wait, still)
    woken = False
    while True:
        # Not looked at before a wake-up: an idle agent holds nothing that has orders already.
        with ctx.services.bus.until(f"orders:{claimer.listener}"):
            if woken:
                found = await work.orders(ctx, claimer.listener)
                if wire.seen(found) != seen:
                    return wire.Orders(orders=found)
            return await work.claim(ctx, claimer, deadline - anyio.current_time(), still)
        woken = True


async def _still_welcome(ctx: Context) -> None:
    if await queries.holder(ctx.actor.credential, ctx.now()) is None:
        raise Unauthorized("This certificate was revoked or has ended.")


async def _work(ctx: Context, phase: Phase, platform: str) -> wire.Work:
    run = await work.run_of(ctx, phase)
    workspace = await workspaces.get(ctx, phase.workspace_id)
    plan = await work.plan_of(ctx, run)
    lease = getattr(work.leases(ctx), phase.kind)
    return wire.Work(
        run_id=run.id,
        phase_id=phase.id,
        kind=phase.kind,
        fence=phase.fence,
        claim=recovery.claim_token(ctx, run, phase),
        lease_seconds=lease.total_seconds(),
        organization="default",
        workspace_id=workspace.id,
        workspace=run.workspace_name,
        working_directory=run.working_directory,
        tool=await _tool(ctx, run, platform),
        flags=_flags(run),
        limits=_limits(ctx, phase, workspace),
        variables=await _variables(ctx, workspace, run, plan, phase),
        environment=_environment(run),
        has_configuration=run.configuration_version_id is not None,
        has_state=workspace.current_state_version_id is not None,
        artifacts=(
            {name: artifact.digest for name, artifact in plan.artifacts.items()}
            if phase.kind == "apply"
            else {}
        ),
        hosts=list(ctx.settings.hosts()),
    )


async def _variables(
    ctx: Context, workspace: Workspace, run: Run, plan: Phase, phase: Phase
) -> list[wire.Variable]:
    """The workspace's and the run's own. An apply gets the plan's, but the present environment.

    terraform refuses a plan that was made with other values; credentials may have been renewed.
    """
    present = await variables.effective(ctx, workspace.id)
    environment = [one for one in present if one.category == "env"]
    if phase.kind == "apply":
        return [*environment, *work.read_by(ctx, plan)]
    given = [one for one in present if one.category == "terraform"]
    given += _run_variables(ctx, run)
    await work.reads(ctx, plan, workspace.current_state_version_id, given)
    return [*environment, *given]


async def _tool(ctx: Context, run: Run, platform: str) -> wire.Tool:
    os, _, arch = platform.partition("_")
    found = None
    if os and arch:
        wanted = Platform(tool=run.tool, version=run.terraform_version, os=os, arch=arch)
        found = await toolchains.find(ctx, wanted)
    digest = found.digest if found else None
    return wire.Tool(name=run.tool, version=run.terraform_version, digest=digest)


def _flags(run: Run) -> wire.Flags:
    return wire.Flags(
        destroy=run.is_destroy,
        refresh=run.refresh,
        refresh_only=run.refresh_only,
        targets=run.target_addrs,
        replaces=run.replace_addrs,
        allow_config_generation=run.allow_config_generation,
        invokes=run.invoke_action_addrs,
    )


def _limits(ctx: Context, phase: Phase, workspace: Workspace) -> wire.Limits:
    runs = ctx.settings.runs
    plan = phase.kind == "plan"
    return wire.Limits(
        phase_seconds=runs.plan_limit_seconds if plan else runs.apply_limit_seconds,
        grace_seconds=runs.grace_seconds,
        log_bytes=runs.log_bytes,
        state_every_seconds=runs.state_every_seconds,
        configuration_bytes=ctx.settings.configurations.unpacked_bytes_at_most,
        memory_bytes=workspace.memory_bytes,
        state_bytes=ctx.settings.states.bytes_at_most,
    )


def _run_variables(ctx: Context, run: Run) -> list[wire.Variable]:
    return [
        wire.Variable(key=variable.key, value=variable.value, hcl=True)
        for variable in work.variables_of(ctx, run)
    ]


def _environment(run: Run) -> dict[str, str]:
    return {
        "TFC_RUN_ID": run.id,
        "TFC_WORKSPACE_NAME": run.workspace_name,
        "TFC_WORKSPACE_SLUG": f"default/{run.workspace_name}",
    }
