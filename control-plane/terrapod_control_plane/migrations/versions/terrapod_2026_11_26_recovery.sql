-- 2026-11-26T04:00:00:000000: recovery

-- what a restored or rolled back database must not do again -----------------------------------------

-- one row: which epoch of fences this is, and whether anything is handed out
create table installation (
    id boolean primary key default true check (id),
    epoch bigint not null,
    paused_at timestamptz,
    pause_reason text not null
);
insert into installation values (true, 0, null, '');

-- the next fence of a phase: (epoch, n) in one number, see kernel/epochs.py
create function fence_after(fence bigint) returns bigint stable language sql as
    'select greatest(fence + 1, (epoch << 20) + 1) from installation';

create function hands_out() returns boolean stable language sql as
    'select paused_at is null from installation';

-- applies that went on in a later life of this database, as their markers and agents tell
create table recovery_findings (
    phase_id text primary key,
    workspace_id text not null,
    workspace_name text not null,
    run_id text not null,
    fence bigint not null,
    told_by text not null,
    at timestamptz not null
);

-- blobs that were to be deleted while a backup copied them
create table doomed_blobs (
    key text primary key,
    at timestamptz not null
);

alter table phases alter column fence type bigint;
