-- name: claim
-- A new owner raises the epoch: whatever the one before still has in flight is refused from here on. Nothing else moves.
insert into ops.source_offset as held (topic, partition, epoch, next_offset, beginning, holder, updated_at)
select t.topic, %(partition)s, 1, t.beginning, t.beginning, %(holder)s, ops.now()
from unnest(%(topics)s::text[], %(beginnings)s::bigint[]) t (topic, beginning)
order by t.topic
on conflict (topic, partition) do update
set epoch = held.epoch + 1, holder = excluded.holder, updated_at = excluded.updated_at
returning topic, epoch, next_offset;

-- name: positions
-- Where the ledger stands on a topic, by partition.
select o.partition, o.next_offset from ops.source_offset o where o.topic = %(topic)s;

-- name: captured_source
-- From which to which source offset a partition is captured; nothing before the first batch.
select
    (select s.first_offset from ledger.source_batch s where s.source_partition = %(partition)s order by s.first_offset limit 1),
    (select s.next_offset from ledger.source_batch s where s.source_partition = %(partition)s order by s.first_offset desc limit 1);

-- name: begin
-- A new ledger on old topics begins where everything that was announced is still there; under this owner's epoch, from where it stood.
update ops.source_offset o
set next_offset = v.next, beginning = v.next, source_offset = %(source_offset)s, updated_at = ops.now()
from unnest(%(topics)s::text[], %(expected)s::bigint[], %(next)s::bigint[]) v (topic, expected, next)
where o.topic = v.topic and o.partition = %(partition)s and o.epoch = %(epoch)s and o.next_offset = v.expected;

-- name: advance
-- Every topic's position moves from exactly where this owner left it, under its own epoch, or the whole batch is refused.
update ops.source_offset o
set next_offset = v.next, updated_at = ops.now()
from unnest(%(topics)s::text[], %(expected)s::bigint[], %(next)s::bigint[]) v (topic, expected, next)
where o.topic = v.topic and o.partition = %(partition)s and o.epoch = %(epoch)s and o.next_offset = v.expected;

-- name: open_batch
-- The batch's number, drawn under the barrier; its date; and what its partition's chain ends with.
select nextval('ledger.batch_seq'), floor(extract(epoch from ops.now()) * 1000)::bigint, (
    select b.chain_sha256
    from ledger.source_batch s
    join ledger.batch b using (batch_id)
    where s.source_partition = %(partition)s
    order by s.first_offset desc
    limit 1
);

-- name: kept
-- Which of these identities the ledger holds, and with which values.
select e.identity, e.payload_hash from ledger.event e where e.identity = any(%(identities)s);

-- name: add_subjects
-- In one order for everybody, so that two writers who add the same ones wait instead of deadlocking.
insert into ledger.subject (customer, meter)
select s.customer, s.meter
from unnest(%(customers)s::text[], %(meters)s::text[]) s (customer, meter)
where not exists (select from ledger.subject held where held.customer = s.customer and held.meter = s.meter)
order by s.customer collate "C", s.meter collate "C"
on conflict do nothing;

-- name: find_subjects
select held.customer, held.meter, held.subject_id
from ledger.subject held
join unnest(%(customers)s::text[], %(meters)s::text[]) s (customer, meter) using (customer, meter);

-- name: copy_event
copy ledger.event (
    identity, payload_hash, subject_id, quantity, billable_quantity, event_time, arrival, late, segment_start, segment_end,
    source_partition, source_offset, batch_id, source, id, customer, meter, reason, corrects, dimensions
) from stdin (format binary);

-- name: copy_posting
copy ledger.posting (
    batch_id, subject_id, segment_start, segment_end, from_account, to_account, quantity, events, oldest_event_time, newest_event_time
) from stdin (format binary);

-- name: copy_diverted
copy ledger.diverted_event (identity, subject_id, batch_id, to_account, why) from stdin (format binary);

-- name: copy_duplicate
copy ledger.duplicate (source_partition, source_offset, identity, arrival, quantity, batch_id) from stdin (format binary);

-- name: copy_conflict
copy ledger.conflict (
    source_partition, source_offset, identity, source, id, customer, meter, quantity, event_time, arrival,
    kept_payload_hash, seen_payload_hash, record, batch_id
) from stdin (format binary);

-- name: copy_refusal
copy ledger.refusal (
    source_partition, source_offset, arrival, reason, field, detail, identity, source, id, customer, meter, quantity,
    record, record_bytes, record_sha256, rejected_offset, batch_id
) from stdin (format binary);

-- name: copy_source_batch
copy ledger.source_batch (
    source_partition, first_offset, next_offset, batch_id, progress_offset, catalogue_version, last_arrival,
    arrived_events, arrived_quantity, arrived_id_sum, on_time_events, on_time_quantity, on_time_id_sum,
    late_events, late_quantity, late_id_sum, duplicate_events, duplicate_quantity, duplicate_id_sum,
    refused_events, refused_quantity, refused_id_sum, suspect_events,
    received_on_time_events, received_on_time_quantity, received_on_time_id_sum,
    received_late_events, received_late_quantity, received_late_id_sum,
    received_refused_events, received_refused_quantity, received_refused_id_sum,
    accepted_events, accepted_quantity, accepted_id_sum,
    ledger_duplicate_events, ledger_duplicate_quantity, ledger_duplicate_id_sum,
    conflict_events, conflict_quantity, conflict_id_sum
) from stdin (format binary);

-- name: add_batch
insert into ledger.batch (batch_id, kind, writer, chain_sha256, recorded_at)
values (%(batch_id)s, 'capture', %(writer)s, %(chain_sha256)s, ops.now());

-- name: broken_chain_links
-- Batches whose rows are not what was sealed, or that do not follow the batch before them.
select s.source_partition, s.batch_id from ledger.capture_seals() s where s.chain_sha256 is distinct from s.expected_sha256 order by s.batch_id;
