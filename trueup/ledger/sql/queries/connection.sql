-- name: set_time_limits
-- No wait without an end; and no name is looked up but in the system's own schema.
select
    set_config('statement_timeout', %(statement)s, false),
    set_config('lock_timeout', %(lock)s, false),
    set_config('idle_in_transaction_session_timeout', %(idle)s, false),
    set_config('search_path', 'pg_catalog', false),
    set_config('timezone', 'UTC', false);

-- name: schema
-- The views' schema is dropped and made again by every run of `trueup migrate`: its number tells one run from the next.
select n.oid::bigint from pg_catalog.pg_namespace n where n.nspname = 'derived';
