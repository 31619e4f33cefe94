-- 2026-11-26T03:00:00:000000: late results, ends that are shown later, agents in trouble

alter table phases
    add column hold_cause text not null default '', -- why it put its workspace on hold
    add column lost_fence bigint, -- under which it was given up; its agent may speak of it once more
    add column late_from bigint not null default 0, -- how much of its log had arrived by then
    add column late_size bigint not null default 0, -- and how much came after that
    add column late_at timestamptz; -- when its agent had said everything

create index phases_unheard on phases (listener_id) where lost_fence is not null and late_at is null;

-- a run whose end is not shown before: somebody has not yet seen the end of its plan's log
alter table runs add column shown_at timestamptz;

-- why an agent takes no work
alter table listeners add column trouble text not null default '';
