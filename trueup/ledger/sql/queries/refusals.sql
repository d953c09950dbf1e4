-- name: page
-- Refused deliveries, newest first, and since when an event of the same source and id counts; without those on request.
select
    r.source_partition, r.source_offset, r.arrival, r.reason, r.field, r.detail, r.source, r.id as event_id, r.customer, r.meter,
    r.quantity::text as quantity, r.record_bytes, r.record_sha256, b.recorded_at as counted_at
from ledger.refusal r
left join ledger.event e on e.identity = r.identity
left join ledger.batch b on b.batch_id = e.batch_id
where (%(reason)s::text is null or r.reason = %(reason)s) and (%(customer)s::text is null or r.customer = %(customer)s)
    and (%(counted)s or e.identity is null)
order by r.arrival desc, r.source_partition, r.source_offset desc
limit %(most)s;

-- name: one
-- A refused delivery with its bytes, where the ledger keeps them.
select
    r.source_partition, r.source_offset, r.arrival, r.reason, r.field, r.detail, r.source, r.id as event_id, r.customer, r.meter,
    r.quantity::text as quantity, r.record_bytes, r.record_sha256, r.rejected_offset, r.record
from ledger.refusal r
where r.source_partition = %(partition)s and r.source_offset = %(offset)s;
