-- 2026-11-26T01:00:00:000000: where runs work

-- Where the runs of an agent work. A plan is applied only where it was made.
alter table phases add column root text; -- of the agent that claimed it last
alter table listeners add column root text; -- as its last beat said
