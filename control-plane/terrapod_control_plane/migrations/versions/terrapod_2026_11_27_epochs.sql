-- 2026-11-27T00:00:00:000000: epochs of fences in hundredths of a second

-- epochs are hundredths of a second: two restores within one second got the same number ------------

create or replace function fence_after(fence bigint) returns bigint stable language sql as
    'select greatest(fence + 1, (epoch << 14) + 1) from installation';

-- an epoch of before stays the epoch of its fences, which are (epoch << 20) + n
update installation set epoch = epoch << 6;
