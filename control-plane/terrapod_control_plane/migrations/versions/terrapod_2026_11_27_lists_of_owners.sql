-- 2026-11-27T06:38:39:273223: lists of owners

-- What somebody owns is listed in the order of all lists, which the collation of the index before
-- could not give: all of it was sorted for each page.
create index workspaces_of_owner on workspaces (owner_id, name collate "C");
drop index workspaces_owner;
