-- 2026-11-24T06:00:00:000000: the first schema

-- identity ---------------------------------------------------------------------------------------

create table users (
    id text primary key,
    email text not null,
    username text not null,
    is_active boolean not null,
    is_service_account boolean not null,
    roles text[] not null,
    created_at timestamptz not null
);
create unique index users_email on users (lower(email));

create table tokens (
    id text primary key,
    kind text not null check (kind in ('user', 'join')),
    subject_id text not null,
    description text not null,
    digest bytea not null unique,
    created_by text,
    created_at timestamptz not null,
    last_used_at timestamptz,
    expires_at timestamptz,
    uses integer not null,
    uses_at_most integer
);
create index tokens_subject on tokens (subject_id, kind, created_at);

-- kernel -----------------------------------------------------------------------------------------

create table secrets (
    name text primary key,
    sealed bytea not null
);

create table outbox (
    id bigint generated always as identity primary key,
    kind text not null,
    payload jsonb not null,
    at timestamptz not null
);
create index outbox_at on outbox (at);

create table audit_entries (
    id bigint generated always as identity primary key,
    at timestamptz not null,
    actor_kind text not null,
    actor_id text not null,
    actor_name text not null,
    request_id text not null,
    action text not null,
    subject text not null,
    detail jsonb not null
);
create index audit_entries_at on audit_entries (at);
create index audit_entries_subject on audit_entries (subject, at);

-- workspaces -------------------------------------------------------------------------------------

create table agent_pools (
    id text primary key,
    name text not null unique,
    service_account_name text not null,
    created_at timestamptz not null
);

create table organizations (
    id text primary key,
    default_agent_pool_id text references agent_pools on delete set null,
    created_at timestamptz not null
);
insert into organizations values ('default', null, now());

create table workspaces (
    id text primary key,
    name text not null unique,
    description text not null,
    owner_id text not null references users,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    execution_mode text not null check (execution_mode in ('remote', 'agent', 'local')),
    agent_pool_id text references agent_pools on delete set null,
    tool text not null check (tool in ('terraform', 'tofu')),
    terraform_version text not null,
    working_directory text not null,
    auto_apply boolean not null,
    allow_destroy_plan boolean not null,
    queue_all_runs boolean not null,
    speculative_enabled boolean not null,
    file_triggers_enabled boolean not null,
    global_remote_state boolean not null,
    source text not null,
    source_name text not null,
    source_url text not null,
    trigger_prefixes text[] not null,
    trigger_patterns text[] not null,
    labels jsonb not null,
    tag_bindings jsonb not null,
    resource_cpu text not null,
    resource_memory text not null,
    vcs_repo_url text not null,
    vcs_branch text not null,
    drift_detection_enabled boolean not null,
    drift_detection_interval_seconds integer not null,
    -- a person's lock
    locked_by text references users,
    lock_reason text not null,
    locked_at timestamptz,
    -- facts that runs and states tell
    current_run_id text,
    held_by_run_id text,
    hold_run_id text,
    hold_reason text not null,
    hold_since timestamptz,
    hold_ended_at timestamptz,
    current_state_version_id text,
    current_configuration_version_id text,
    resource_count integer not null,
    runs_count integer not null
);
-- lists are in this order, which the unique index of another collation cannot give
create index workspaces_name on workspaces (name collate "C");
create index workspaces_owner on workspaces (owner_id, name);
create index workspaces_pool on workspaces (agent_pool_id);
create index workspaces_tags on workspaces using gin (tag_bindings);

-- variables --------------------------------------------------------------------------------------

create table variables (
    id text primary key,
    workspace_id text not null references workspaces on delete cascade,
    key text not null,
    sealed bytea not null,
    category text not null check (category in ('terraform', 'env')),
    hcl boolean not null,
    sensitive boolean not null,
    description text not null,
    version_id text not null,
    created_at timestamptz not null,
    constraint variables_key unique (workspace_id, category, key)
);

-- states -----------------------------------------------------------------------------------------

create table state_versions (
    id text primary key,
    number bigint generated always as identity,
    workspace_id text not null references workspaces on delete cascade,
    run_id text,
    created_by text,
    created_at timestamptz not null,
    status text not null check (status in ('pending', 'finalized', 'discarded', 'recovered')),
    intermediate boolean not null,
    serial bigint not null,
    lineage text not null,
    md5 text not null,
    size bigint not null,
    force boolean not null,
    terraform_version text not null,
    resources jsonb not null,
    resource_count integer not null,
    finalized_at timestamptz
);
create index state_versions_workspace on state_versions (workspace_id, number desc);
create index state_versions_pending on state_versions (created_at) where status = 'pending';
create index state_versions_run on state_versions (run_id);

create table state_outputs (
    id text primary key,
    state_version_id text not null references state_versions on delete cascade,
    name text not null,
    sensitive boolean not null,
    type text not null,
    detailed_type jsonb not null,
    sealed bytea not null
);
create index state_outputs_version on state_outputs (state_version_id);

-- configurations ---------------------------------------------------------------------------------

create table configuration_versions (
    id text primary key,
    workspace_id text not null references workspaces on delete cascade,
    created_by text,
    created_at timestamptz not null,
    status text not null check (status in ('pending', 'uploaded', 'errored', 'archived')),
    error_message text not null,
    source text not null,
    speculative boolean not null,
    provisional boolean not null,
    auto_queue_runs boolean not null,
    status_timestamps jsonb not null,
    size bigint not null,
    digest text not null
);
create index configuration_versions_workspace on configuration_versions (workspace_id, created_at desc);

-- toolchains -------------------------------------------------------------------------------------

create table tools (
    tool text not null,
    version text not null,
    os text not null,
    arch text not null,
    digest text not null,
    size bigint not null,
    created_at timestamptz not null,
    primary key (tool, version, os, arch)
);

-- runs -------------------------------------------------------------------------------------------

create table runs (
    id text primary key,
    number bigint generated always as identity,
    workspace_id text not null references workspaces on delete cascade,
    configuration_version_id text references configuration_versions on delete set null,
    pool_id text,
    plan_id text not null unique,
    apply_id text not null unique,
    status text not null,
    status_timestamps jsonb not null,
    is_current boolean not null,
    message text not null,
    source text not null,
    trigger_reason text not null,
    terraform_version text not null,
    tool text not null,
    workspace_name text not null,
    working_directory text not null,
    is_destroy boolean not null,
    auto_apply boolean not null,
    plan_only boolean not null,
    save_plan boolean not null,
    refresh boolean not null,
    refresh_only boolean not null,
    allow_empty_apply boolean not null,
    allow_config_generation boolean not null,
    target_addrs text[] not null,
    replace_addrs text[] not null,
    variables bytea,
    has_changes boolean,
    created_by text,
    confirmed_by text,
    created_at timestamptz not null,
    changed_at timestamptz not null,
    canceled_at timestamptz,
    force_cancel_available_at timestamptz,
    state_version_id text,
    reason text not null
);
create index runs_workspace on runs (workspace_id, number desc);
create unique index runs_one_current on runs (workspace_id) where is_current;
create index runs_waiting on runs (workspace_id, number) where status = 'pending';
create index runs_open on runs (changed_at)
    where status not in ('applied', 'discarded', 'errored', 'canceled', 'planned_and_finished');
create index runs_configuration on runs (configuration_version_id);

create table phases (
    id text primary key,
    run_id text not null references runs on delete cascade,
    workspace_id text not null,
    kind text not null check (kind in ('plan', 'apply')),
    pool_id text,
    status text not null check (status in
        ('pending', 'queued', 'running', 'finished', 'errored', 'canceled', 'unreachable')),
    status_timestamps jsonb not null,
    queued_at timestamptz,
    rank timestamptz, -- when it is due: later kinds of work stand further back, and all of it ages
    listener_id text,
    slot integer,
    claim_key text,
    fence integer not null,
    claims integer not null,
    lease_until timestamptz,
    claimed_at timestamptz,
    start_confirmed boolean not null,
    order_kind text,
    ordered_at timestamptz,
    has_changes boolean,
    additions integer,
    changes integer,
    destructions integer,
    imports integer,
    artifacts jsonb not null,
    variables bytea, -- sealed: those of category terraform that a plan got, for its apply
    log_size bigint not null,
    log_base bigint not null, -- where the log of the present claim starts
    log_complete boolean not null,
    log_index jsonb,
    log_at timestamptz
);
create index phases_run on phases (run_id);
create index phases_queued on phases (pool_id, rank) where status = 'queued' and lease_until is null;
create index phases_held on phases (listener_id) where lease_until is not null;
create index phases_leases on phases (pool_id, lease_until) where lease_until is not null;
create index phases_to_archive on phases (id)
    where log_complete and log_index is null and log_size > 0;

create table log_chunks (
    phase_id text not null references phases on delete cascade,
    at_byte bigint not null,
    sealed bytea not null,
    size integer not null,
    primary key (phase_id, at_byte)
);

-- agents -----------------------------------------------------------------------------------------

create table listeners (
    id text primary key,
    pool_id text not null references agent_pools on delete cascade,
    name text not null,
    public_key text not null,
    version text not null,
    platform text not null,
    slots integer not null,
    draining boolean not null,
    created_at timestamptz not null,
    last_seen_at timestamptz,
    revoked_at timestamptz,
    constraint listeners_name unique (pool_id, name)
);

create table certificates (
    fingerprint text primary key,
    listener_id text not null references listeners on delete cascade,
    not_after timestamptz not null,
    revoked_at timestamptz
);
create index certificates_listener on certificates (listener_id);
