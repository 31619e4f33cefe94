-- 2026-11-26T02:00:00:000000: workspaces share their state

alter table workspaces add column project_remote_state boolean not null default false;

create table remote_state_consumers (
    workspace_id text not null references workspaces on delete cascade,
    consumer_id text not null references workspaces on delete cascade,
    primary key (workspace_id, consumer_id)
);
create index remote_state_consumers_consumer on remote_state_consumers (consumer_id);
