-- The seal: each captured batch's hash takes in all its rows and the hash of the batch before it.

-- Runs as its owner: who reads the proof may read the ledger's functions and tables only through it.
create function derived.broken_seals() returns bigint language sql stable security definer set search_path = pg_catalog as $$
select count(*) from ledger.capture_seals() s where s.chain_sha256 is distinct from s.expected_sha256
$$;

create function derived.broken_facts() returns bigint language sql stable security definer set search_path = pg_catalog as $$
select count(*) from ledger.facts() f full join ledger.fact_seal s on s.fact = f.fact and s.fact_id = f.fact_id
where f.content_sha256 is distinct from s.content_sha256
$$;

create view derived.check_chain_sealed as
with sealed as (
    select count(*) as batches, max(b.recorded_at) as newest_at from ledger.batch b where b.kind = 'capture'
), torn as (
    -- Rows that name no batch, and batches of which no source record is left.
    select
        (select count(*) from ledger.source_batch s where not exists (select from ledger.batch b where b.batch_id = s.batch_id))
        + (select count(*) from ledger.batch b where b.kind = 'capture'
            and not exists (select from ledger.source_batch s where s.batch_id = b.batch_id)) as batches
), exchanged as (
    -- Sealed by its hash: the bytes must still be the ones that were hashed. Beyond 64 KiB they stay on their topic.
    select count(*) as records
    from ledger.refusal r
    where encode(sha256(r.record), 'hex') <> r.record_sha256 or (r.record is null and r.record_bytes between 1 and 65536)
)
select
    'chain_sealed' as check_name,
    sealed.batches as evaluated,
    derived.broken_seals() + derived.broken_facts() + torn.batches + exchanged.records as violations,
    0::bigint as stale,
    0::bigint as pending,
    null::timestamptz as oldest_pending_at,
    null::bigint as pending_limit_seconds,
    sealed.newest_at as basis_as_of,
    exists (select from ledger.event) as required,
    'Each captured batch''s hash is that of the rows that stand there now and of the batch before it, each refused record is the one that was hashed, and each mapping, never-billed customer, plan, lane, arming, period, conflict and refusal is as it was sealed, so that nothing was changed, put in or taken out later.' as meaning
from sealed, torn, exchanged;
