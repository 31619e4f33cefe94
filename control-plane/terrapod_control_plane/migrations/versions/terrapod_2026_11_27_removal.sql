-- states that runs saved on their way: few, for their runs remove them
create index state_versions_passed on state_versions (created_at) where intermediate;
