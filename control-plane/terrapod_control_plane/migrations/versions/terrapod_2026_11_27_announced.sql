-- 2026-11-27T02:00:00:000000: announcements of what processes keep in memory

-- Processes keep in memory what they have read of credentials and of whose a workspace is. Whatever
-- changes it, be it a use case, a command in another process or an operator's SQL, announces it at
-- commit. What is only counted or noted (last_used_at, last_seen_at, ...) is not announced.
create function announce() returns trigger language plpgsql as $$
begin
    perform pg_notify('terrapod', tg_argv[0]);
    return null;
end $$;
create function announce_workspace() returns trigger language plpgsql as $$
begin
    perform pg_notify('terrapod', 'changed:' || old.id);
    return null;
end $$;

-- Those of one transaction are one message, as they are all the same.
create trigger users_announced after delete or update of id, username, email, roles, is_active
    on users for each row execute function announce('changed:credentials');
create trigger tokens_announced after delete or update of id, kind, subject_id, digest, expires_at
    on tokens for each row execute function announce('changed:credentials');
create trigger listeners_announced after delete or update of id, pool_id, name, revoked_at
    on listeners for each row execute function announce('changed:credentials');
create trigger certificates_announced
    after delete or update of fingerprint, listener_id, not_after, revoked_at
    on certificates for each row execute function announce('changed:credentials');
create trigger workspaces_announced after delete or update of id, name, owner_id, labels
    on workspaces for each row execute function announce_workspace();

create trigger users_emptied after truncate on users
    for each statement execute function announce('changed:credentials');
create trigger tokens_emptied after truncate on tokens
    for each statement execute function announce('changed:credentials');
create trigger listeners_emptied after truncate on listeners
    for each statement execute function announce('changed:credentials');
create trigger certificates_emptied after truncate on certificates
    for each statement execute function announce('changed:credentials');
create trigger workspaces_emptied after truncate on workspaces
    for each statement execute function announce('changed:workspaces');
