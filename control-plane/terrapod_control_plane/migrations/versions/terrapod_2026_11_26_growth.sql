-- 2026-11-26T07:00:00:000000: what grows without a limit

-- states -----------------------------------------------------------------------------------------

-- Outputs and resources of a state, many in a row. They are written before the version that they
-- belong to is made the present one, and nobody may wait for them: so no foreign key, which would
-- lock the version and its workspace.
create table state_excerpts (
    state_version_id text not null,
    kind text not null check (kind in ('outputs', 'resources')),
    first integer not null,
    count integer not null,
    sealed bytea not null,
    primary key (state_version_id, kind, first)
);

create function forget_state_excerpts() returns trigger language plpgsql as $$
begin
    delete from state_excerpts e using gone where e.state_version_id = gone.id;
    return null;
end $$;
create trigger forget_state_excerpts after delete on state_versions
    referencing old table as gone for each statement execute function forget_state_excerpts();

-- Both are found again in the content of a state, and are when somebody asks for them.
drop table state_outputs;
alter table state_versions drop column resources;
alter table state_versions add column output_count integer;
update state_versions set output_count = 0 where status in ('pending', 'discarded');

-- what is asked for all the time -----------------------------------------------------------------

create index phases_ordered on phases (listener_id, claimed_at) where order_kind is not null;

-- pools ------------------------------------------------------------------------------------------

-- A pool that a workspace names stays.
alter table workspaces drop constraint workspaces_agent_pool_id_fkey;
alter table workspaces add constraint workspaces_agent_pool_id_fkey
    foreign key (agent_pool_id) references agent_pools;

-- runs -------------------------------------------------------------------------------------------

alter table runs add column plain_variables text[];
alter table runs add column invoke_action_addrs text[] not null default '{}';

-- what is removed after a while ------------------------------------------------------------------

create index certificates_ended on certificates (not_after);
-- beside the other, an index of the listener alone would be passed over for the newest of one
create index certificates_newest on certificates (listener_id, not_after desc);
drop index certificates_listener;
create index phases_left on phases (claimed_at) where artifacts <> '{}';

-- workspaces whose contents still lie in the blob store
create table deleted_workspaces (
    workspace_id text primary key,
    deleted_at timestamptz not null
);
create index deleted_workspaces_at on deleted_workspaces (deleted_at);
