-- name: share
-- Held to the end of the transaction by everybody who posts to or from unsent. A statement of its own: the next one sees all
-- that was committed before the lock was given.
select pg_advisory_xact_lock_shared(%(key)s);

-- name: exclude
-- Held by the cutter: nobody else is in mid-posting while it reads the sequence.
select pg_advisory_xact_lock(%(key)s);

-- name: next_batch
-- Drawn after the barrier is held, so that a cut covers every number up to it.
select nextval('ledger.batch_seq');

-- name: holders
-- Transactions that hold the barrier, in either way. A lock on one bigint key stands in pg_locks as two halves.
select l.pid, l.virtualtransaction
from pg_locks l
join pg_database d on d.oid = l.database
where l.locktype = 'advisory' and d.datname = current_database() and l.granted
  and l.classid = (%(key)s::bigint >> 32)::int::oid and l.objid = (%(key)s::bigint & 4294967295)::oid and l.objsubid = 1;

-- name: terminate
-- No time-out of Postgres ends a COPY whose client stands still; this does. Only if it is still in that same transaction.
select pg_terminate_backend(l.pid)
from pg_locks l
where l.locktype = 'advisory' and l.granted and l.pid = %(pid)s and l.virtualtransaction = %(transaction)s
limit 1;
