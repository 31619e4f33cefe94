-- 2026-11-27T05:00:00:000000: consumers of events

-- who did it, for those who read events after their transaction
alter table outbox add column actor_kind text not null default '';
alter table outbox add column actor_id text not null default '';
alter table outbox add column request_id text not null default '';

-- how far each consumer of events has come
create table outbox_cursors (
    consumer text primary key,
    event bigint not null, -- the last that is done, and all before it
    moved_at timestamptz not null,
    attempts integer not null default 0, -- in vain, at the event after it
    error text not null default '' -- of the last of them
);

-- events that a consumer has given up, whole, for the outbox is trimmed
create table outbox_dead_letters (
    consumer text not null,
    event bigint not null,
    kind text not null,
    payload jsonb not null,
    at timestamptz not null,
    actor_kind text not null,
    actor_id text not null,
    request_id text not null,
    died_at timestamptz not null,
    attempts integer not null,
    error text not null,
    retry boolean not null default false, -- an operator wants it to be tried again
    primary key (consumer, event)
);
create index outbox_dead_letters_retry on outbox_dead_letters (consumer, event) where retry;
