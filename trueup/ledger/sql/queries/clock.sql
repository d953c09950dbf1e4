-- name: now_ms
-- The date all SQL goes by, in milliseconds.
select floor(extract(epoch from ops.now()) * 1000)::bigint;

-- name: set_simulated_now
-- The street's clock; a database without this row lives by the machine's.
insert into ops.simulated_clock (now) values (to_timestamp(0) + %(now_ms)s * interval '1 millisecond')
on conflict (only_row) do update set now = excluded.now;
