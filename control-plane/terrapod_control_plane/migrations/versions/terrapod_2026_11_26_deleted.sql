-- 2026-11-26T09:00:00:000000: deleted workspaces stay known

-- A deleted workspace stays known after its contents are gone: what agents and markers tell of it is
-- no sign that the database was set back.
alter table deleted_workspaces add column cleaned_at timestamptz;
drop index deleted_workspaces_at;
create index deleted_workspaces_at on deleted_workspaces (deleted_at) where cleaned_at is null;
