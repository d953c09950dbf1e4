-- name: snapshot
-- One snapshot for every check, however many statements read it.
set transaction isolation level repeatable read, read only;

-- name: checks
select
    p.check_name, p.status, p.evaluated::bigint, p.violations::bigint, p.pending::bigint, p.oldest_pending_at, p.pending_limit_seconds,
    p.basis_as_of, p.meaning, p.checked_at, p.stale::bigint, p.required
from finance.proof p
order by p.place;

-- name: deep_checks
select
    p.check_name, p.status, p.evaluated::bigint, p.violations::bigint, p.pending::bigint, p.oldest_pending_at, p.pending_limit_seconds,
    p.basis_as_of, p.meaning, p.checked_at, p.stale::bigint, p.required
from finance.proof_deep p
order by p.place;

-- name: source_offsets
-- Up to where the snapshot goes, per partition of the source topic.
select o.source_partition, o.next_offset from derived.source_offset o order by o.source_partition;

-- name: patience
-- Compiling so many expressions takes longer than evaluating them.
select set_config('statement_timeout', %(milliseconds)s, true), set_config('jit', 'off', true);
