-- 2026-11-27T01:00:00:000000: indexes for what is removed

-- states that runs saved on their way: few, for their runs remove them
create index state_versions_passed on state_versions (created_at) where intermediate;

-- archives of configurations that may be removed
create index configuration_versions_aged on configuration_versions (created_at, id)
    where status = 'uploaded';

-- Plans whose artifacts may still lie somewhere: what a lost attempt left has no row, so each plan
-- that an agent had is looked at, once.
alter table phases add column left_gone boolean not null default false;
drop index phases_left;
create index phases_left on phases (claimed_at, id) where kind = 'plan' and not left_gone;
