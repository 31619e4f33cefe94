"""Tables of runs and phases."""

from piccolo.columns import JSONB, Array, BigInt, Boolean, Bytea, Integer, Text, Timestamptz
from piccolo.table import Table

from terrapod_control_plane.kernel.db import ENGINE


class Runs(Table, tablename="runs", db=ENGINE):
    """One row a run; the database numbers them."""

    id = Text(primary_key=True)
    workspace_id = Text()
    configuration_version_id = Text(null=True, default=None)
    pool_id = Text(null=True, default=None)
    plan_id = Text()
    apply_id = Text()
    status = Text()
    status_timestamps = JSONB()
    is_current = Boolean()
    message = Text()
    source = Text()
    trigger_reason = Text()
    terraform_version = Text()
    tool = Text()
    workspace_name = Text()
    working_directory = Text()
    is_destroy = Boolean()
    auto_apply = Boolean()
    plan_only = Boolean()
    save_plan = Boolean()
    refresh = Boolean()  # type: ignore[assignment]  # piccolo has a method of the name
    refresh_only = Boolean()
    allow_empty_apply = Boolean()
    allow_config_generation = Boolean()
    target_addrs = Array(Text(), default=list)
    replace_addrs = Array(Text(), default=list)
    invoke_action_addrs = Array(Text(), default=list)
    variables = Bytea(null=True, default=None)
    plain_variables = Array(Text(), null=True, default=None)
    has_changes = Boolean(null=True, default=None)
    created_by = Text(null=True, default=None)
    confirmed_by = Text(null=True, default=None)
    created_at = Timestamptz()
    changed_at = Timestamptz()
    canceled_at = Timestamptz(null=True, default=None)
    force_cancel_available_at = Timestamptz(null=True, default=None)
    state_version_id = Text(null=True, default=None)
    reason = Text()
    shown_at = Timestamptz(null=True, default=None)


class Phases(Table, tablename="phases", db=ENGINE):
    """One row a plan or apply."""

    id = Text(primary_key=True)
    run_id = Text()
    workspace_id = Text()
    kind = Text()
    pool_id = Text(null=True, default=None)
    status = Text()
    status_timestamps = JSONB()
    queued_at = Timestamptz(null=True, default=None)
    rank = Timestamptz(null=True, default=None)
    listener_id = Text(null=True, default=None)
    slot = Integer(null=True, default=None)
    claim_key = Text(null=True, default=None)
    fence = BigInt()
    claims = Integer()
    lease_until = Timestamptz(null=True, default=None)
    claimed_at = Timestamptz(null=True, default=None)
    start_confirmed = Boolean()
    order_kind = Text(null=True, default=None)
    ordered_at = Timestamptz(null=True, default=None)
    has_changes = Boolean(null=True, default=None)
    additions = Integer(null=True, default=None)
    changes = Integer(null=True, default=None)
    destructions = Integer(null=True, default=None)
    imports = Integer(null=True, default=None)
    artifacts = JSONB()
    variables = Bytea(null=True, default=None)
    log_size = BigInt()
    log_base = BigInt()
    log_complete = Boolean()
    log_index = JSONB(null=True, default=None)
    log_at = Timestamptz(null=True, default=None)
    hold_cause = Text()
    lost_fence = BigInt(null=True, default=None)
    late_from = BigInt()
    late_size = BigInt()
    late_at = Timestamptz(null=True, default=None)
    root = Text(null=True, default=None)
    left_gone = Boolean()  # of a plan: what it left was removed
