-- Checks of the source: every offset read, every record decided once, everything decided captured.

create view derived.check_source_without_gap as
with link as (
    select
        s.first_offset,
        s.progress_offset,
        s.last_arrival,
        lag(s.next_offset) over chain as previous_next_offset,
        lag(s.progress_offset) over chain as previous_progress_offset
    from ledger.source_batch s
    window chain as (partition by s.source_partition order by s.first_offset)
), broken as (
    select count(*) as links
    from link l
    where l.first_offset <> l.previous_next_offset or l.progress_offset <= l.previous_progress_offset
), hollow as (
    -- A batch whose progress records are gone leaves a gap that no later record shows, when it was the last.
    select count(*) as batches
    from ledger.batch b
    where b.kind = 'capture' and not exists (select from ledger.source_batch s where s.batch_id = b.batch_id)
), captured as (
    select s.source_partition, max(s.progress_offset) + 1 as next_offset from ledger.source_batch s group by s.source_partition
), held as (
    -- Where capture reads on; of a topic that was given another name, only the one that is read now.
    select distinct on (o.partition) o.partition, o.next_offset, o.beginning
    from ops.source_offset o
    where o.topic ~ '(^|usage\.)progress(\.v[0-9]+)?$'
    order by o.partition, o.updated_at desc
), adrift as (
    -- A position ahead of the newest progress record in the ledger: what was captured in between is gone and will not be read again.
    select count(*) as partitions
    from captured c
    full join held h on h.partition = c.source_partition
    -- Where nothing was captured yet it is where the topic began when this ledger took it up: retention may have been there before.
    where coalesce(c.next_offset, h.beginning) is distinct from h.next_offset
)
select
    'source_without_gap' as check_name,
    (select count(*) from link) as evaluated,
    broken.links + hollow.batches + adrift.partitions as violations,
    0::bigint as stale,
    0::bigint as pending,
    null::timestamptz as oldest_pending_at,
    null::bigint as pending_limit_seconds,
    (select max(l.last_arrival) from link l) as basis_as_of,
    exists (select from ledger.event) as required,
    'Each partition''s progress records follow one another without a gap or an overlap in source offsets, each captured batch has its own, and the newest one stands right before the position from which capture reads on.' as meaning
from broken, hollow, adrift;

create view derived.check_arrived_equals_decided as
select
    'arrived_equals_decided' as check_name,
    count(*) as evaluated,
    count(*) filter (
        where s.arrived_events <> s.on_time_events + s.late_events + s.duplicate_events + s.refused_events
            or s.arrived_quantity <> s.on_time_quantity + s.late_quantity + s.duplicate_quantity + s.refused_quantity
            or s.arrived_id_sum <> s.on_time_id_sum + s.late_id_sum + s.duplicate_id_sum + s.refused_id_sum
    ) as violations,
    0::bigint as stale,
    0::bigint as pending,
    null::timestamptz as oldest_pending_at,
    null::bigint as pending_limit_seconds,
    max(s.last_arrival) as basis_as_of,
    exists (select from ledger.event) as required,
    'Of every progress record: arrived = on time + late + duplicate + refused, in events, in quantity and in the sum of ids.' as meaning
from ledger.source_batch s;

create view derived.check_on_time_and_late_captured as
with announced as (
    select
        s.batch_id,
        max(s.last_arrival) as last_arrival,
        bool_or(
            s.on_time_events <> s.received_on_time_events
            or s.on_time_quantity <> s.received_on_time_quantity
            or s.on_time_id_sum <> s.received_on_time_id_sum
            or s.late_events <> s.received_late_events
            or s.late_quantity <> s.received_late_quantity
            or s.late_id_sum <> s.received_late_id_sum
            or s.refused_events <> s.received_refused_events
            or s.refused_quantity <> s.received_refused_quantity
            or s.refused_id_sum <> s.received_refused_id_sum
            or s.received_on_time_events + s.received_late_events <> s.accepted_events + s.ledger_duplicate_events + s.conflict_events
            or s.received_on_time_quantity + s.received_late_quantity
                <> s.accepted_quantity + s.ledger_duplicate_quantity + s.conflict_quantity
            or s.received_on_time_id_sum + s.received_late_id_sum <> s.accepted_id_sum + s.ledger_duplicate_id_sum + s.conflict_id_sum
        ) as inconsistent,
        sum(s.accepted_events) as accepted_events,
        sum(s.accepted_quantity) as accepted_quantity,
        sum(s.accepted_id_sum) as accepted_id_sum,
        sum(s.ledger_duplicate_events) as duplicate_events,
        sum(s.conflict_events) as conflict_events,
        sum(s.refused_events) as refused_events
    from ledger.source_batch s
    group by s.batch_id
), kept as (
    select
        e.batch_id,
        count(*) as events,
        sum(e.quantity) as quantity,
        sum(('x' || left(replace(e.identity::text, '-', ''), 12))::bit(48)::bigint::numeric) as id_sum
    from ledger.event e
    group by e.batch_id
), duplicates as (
    select d.batch_id, count(*) as events from ledger.duplicate d group by d.batch_id
), conflicts as (
    select c.batch_id, count(*) as events from ledger.conflict c group by c.batch_id
), refusals as (
    select r.batch_id, count(*) as events from ledger.refusal r group by r.batch_id
), beside as (
    select
        a.last_arrival,
        a.batch_id is null
        or a.inconsistent
        or a.accepted_events <> coalesce(k.events, 0)
        or a.accepted_quantity <> coalesce(k.quantity, 0)
        or a.accepted_id_sum <> coalesce(k.id_sum, 0)
        or a.duplicate_events <> coalesce(d.events, 0)
        or a.conflict_events <> coalesce(c.events, 0)
        or a.refused_events <> coalesce(r.events, 0) as wrong
    from announced a
    full join kept k on k.batch_id = a.batch_id
    full join duplicates d on d.batch_id = coalesce(a.batch_id, k.batch_id)
    full join conflicts c on c.batch_id = coalesce(a.batch_id, k.batch_id, d.batch_id)
    full join refusals r on r.batch_id = coalesce(a.batch_id, k.batch_id, d.batch_id, c.batch_id)
)
select
    'on_time_and_late_captured' as check_name,
    count(*) as evaluated,
    count(*) filter (where b.wrong) as violations,
    0::bigint as stale,
    0::bigint as pending,
    null::timestamptz as oldest_pending_at,
    null::bigint as pending_limit_seconds,
    max(b.last_arrival) as basis_as_of,
    exists (select from ledger.event) as required,
    'Of every batch: what the dedupe room announced was received, each record became an event, a duplicate, a conflict or a refusal, and those rows stand (in events, in quantity and in the sum of ids).' as meaning
from beside b;

create view derived.check_one_row_per_identity as
with twice as (
    select coalesce(sum(t.surplus), 0) as surplus
    from (
        select count(*) - 1 as surplus from ledger.event e group by e.identity having count(*) > 1
        union all
        select count(*) - 1 from ledger.event e group by e.source, e.id having count(*) > 1
    ) t
)
select
    'one_row_per_identity' as check_name,
    (select count(*) from ledger.event) as evaluated,
    twice.surplus::bigint as violations,
    0::bigint as stale,
    0::bigint as pending,
    null::timestamptz as oldest_pending_at,
    null::bigint as pending_limit_seconds,
    (select max(s.last_arrival) from ledger.source_batch s) as basis_as_of,
    exists (select from ledger.source_batch s where s.accepted_events > 0) as required,
    'No event, by source and id or by its identity, stands in the ledger twice.' as meaning
from twice;
