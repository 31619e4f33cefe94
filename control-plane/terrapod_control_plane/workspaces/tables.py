"""Table of workspaces."""

from piccolo.columns import JSONB, Array, Boolean, Integer, Text, Timestamptz
from piccolo.table import Table

from terrapod_control_plane.kernel.db import ENGINE


class Workspaces(Table, tablename="workspaces", db=ENGINE):
    """One row a workspace."""

    id = Text(primary_key=True)
    name = Text()
    description = Text()
    owner_id = Text()
    created_at = Timestamptz()
    updated_at = Timestamptz()
    execution_mode = Text()
    agent_pool_id = Text(null=True, default=None)
    tool = Text()
    terraform_version = Text()
    working_directory = Text()
    auto_apply = Boolean()
    allow_destroy_plan = Boolean()
    queue_all_runs = Boolean()
    speculative_enabled = Boolean()
    file_triggers_enabled = Boolean()
    global_remote_state = Boolean()
    project_remote_state = Boolean()
    source = Text()
    source_name = Text()
    source_url = Text()
    trigger_prefixes = Array(Text(), default=list)
    trigger_patterns = Array(Text(), default=list)
    labels = JSONB()
    tag_bindings = JSONB()
    resource_cpu = Text()
    resource_memory = Text()
    vcs_repo_url = Text()
    vcs_branch = Text()
    drift_detection_enabled = Boolean()
    drift_detection_interval_seconds = Integer()
    locked_by = Text(null=True, default=None)
    lock_reason = Text()
    locked_at = Timestamptz(null=True, default=None)
    current_run_id = Text(null=True, default=None)
    held_by_run_id = Text(null=True, default=None)
    hold_run_id = Text(null=True, default=None)
    hold_reason = Text()
    hold_since = Timestamptz(null=True, default=None)
    hold_ended_at = Timestamptz(null=True, default=None)
    current_state_version_id = Text(null=True, default=None)
    current_configuration_version_id = Text(null=True, default=None)
    resource_count = Integer()
    runs_count = Integer()
