-- The life of each event as the ledger saw it, step by step.
-- Which intents carried an event. It may have been divided from its segment before one did; and what a reading of Stripe found missing
-- went back to unsent and out again with a later one.
create view derived.event_intent as
select e.identity, e.source, e.id, i.intent_id, i.lane_id, i.identifier, i.quantity, i.events, i.stripe_timestamp, i.recorded_at
from (select v.*, d.to_account from ledger.event v join derived.event_destination d on d.identity = v.identity) e
cross join lateral (
    with recursive way as (
        select e.segment_start, e.segment_end, e.batch_id, null::bigint as intent_id
        union
        select n.segment_start, n.segment_end, n.batch_id, n.intent_id
        from way w
        left join ledger.division d
            on w.intent_id is null and d.subject_id = e.subject_id and d.segment_start = w.segment_start and d.segment_end = w.segment_end
            and d.divided_batch_id = w.batch_id
        cross join lateral (
            select q.segment_start, q.segment_end, q.batch_id, null::bigint as intent_id
            from ledger.posting q
            where q.batch_id = d.batch_id and q.subject_id = e.subject_id and q.to_account = 2 and q.events > 0
                and q.segment_start <= e.event_time and q.segment_end > e.event_time
            union all
            select i.segment_start, i.segment_end, i.batch_id, i.intent_id
            from ledger.intent i
            where w.intent_id is null and d.batch_id is null and i.subject_id = e.subject_id and i.segment_start = w.segment_start
                and i.after_batch < w.batch_id and i.through_batch >= w.batch_id
            union all
            select p.segment_start, p.segment_end, p.batch_id, null
            from ledger.posting p
            where p.subject_id = e.subject_id and p.segment_start = w.segment_start and p.intent_id = w.intent_id
                and p.from_account = 3 and p.to_account = 2
        ) n
    )
    select w.intent_id from way w where w.intent_id is not null
) k
join ledger.intent i on i.intent_id = k.intent_id
where e.to_account = 2;

create view derived.event_journey as
select
    e.identity, e.source, e.id as event_id, 10 as place, 'arrived' as step, e.arrival as at,
    format('partition %s, offset %s; event time %s', e.source_partition, e.source_offset, to_char(e.event_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) as detail
from ledger.event e
union all
select
    e.identity, e.source, e.id, 20, 'decided', e.arrival,
    format('%s, by catalogue version %s (progress record %s of partition %s)', case when e.late then 'late' else 'on_time' end, s.catalogue_version, s.progress_offset, e.source_partition)
from ledger.event e
join lateral (
    select s.catalogue_version, s.progress_offset
    from ledger.source_batch s
    where s.source_partition = e.source_partition and s.first_offset <= e.source_offset
    order by s.first_offset desc
    limit 1
) s on true
union all
select
    e.identity, e.source, e.id, 30, 'captured', b.recorded_at,
    format('batch %s; %s of %s for customer %s', e.batch_id, ops.in_unit(e.billable_quantity, h.scale), e.meter, e.customer)
from ledger.event e
join ledger.batch b on b.batch_id = e.batch_id
join derived.subject h on h.subject_id = e.subject_id
union all
select
    e.identity, e.source, e.id, 40, 'posted', b.recorded_at,
    format('usage to %s%s; segment %s to %s', a.name, ' (' || e.why || ')',
        to_char(e.segment_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), to_char(e.segment_end at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
from (select v.*, d.to_account, d.why from ledger.event v join derived.event_destination d on d.identity = v.identity) e
join ledger.account a on a.account_id = e.to_account
join ledger.batch b on b.batch_id = e.batch_id
union all
select
    e.identity, e.source, e.id, 45, 'waived', b.recorded_at,
    format('unsent to waived (never_billed); batch %s, with %s events of the segment', w.batch_id, w.events)
from (select v.*, d.to_account from ledger.event v join derived.event_destination d on d.identity = v.identity) e
join ledger.waived_segment w
    on w.subject_id = e.subject_id and w.segment_start = e.segment_start and w.after_batch < e.batch_id and w.through_batch >= e.batch_id
join ledger.batch b on b.batch_id = w.batch_id
where e.to_account = 2
union all
select
    c.identity, c.source, c.id, 50, 'cut', c.recorded_at,
    format('intent %s, identifier %s: %s events of the segment, %s in the smallest unit, Stripe customer %s, meter %s', c.intent_id, c.identifier, c.events, c.quantity, l.stripe_customer, l.stripe_event_name)
from derived.event_intent c
join ledger.lane l on l.lane_id = c.lane_id
union all
select c.identity, c.source, c.id, 60, 'attempted', a.started_at, format('intent %s, attempt %s by %s', c.intent_id, a.number, a.holder)
from derived.event_intent c
join ledger.attempt a on a.intent_id = c.intent_id
union all
select
    c.identity, c.source, c.id, 70, 'answered', o.recorded_at,
    concat_ws('; ', format('intent %s: %s', c.intent_id, o.class), 'HTTP ' || o.http_status, o.stripe_code, o.message, 'request ' || o.request_id,
        case when not o.posted and o.final then 'came under an old lease: evidence only' end)
from derived.event_intent c
join ledger.outcome o on o.intent_id = c.intent_id
union all
select
    c.identity, c.source, c.id, 75, 'reported', r.created,
    format('intent %s: Stripe received it and refused it then: %s, %s (report %s)', c.intent_id, r.code, r.error_message, r.event_id)
from derived.event_intent c
join derived.reported_intent r on r.intent_id = c.intent_id
union all
select
    c.identity, c.source, c.id, 80, 'summarized', h.read_at,
    format('hour %s: Stripe counts %s, %s acknowledged: %s', to_char(h.hour_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"'),
        h.stripe, h.acknowledged, case when h.stripe = h.acknowledged then 'agrees' else 'differs' end)
from derived.event_intent c
join lateral (
    select s.hour_start, s.read_at, s.quantity as stripe, (
        select coalesce(sum(case when p.to_account = 4 then p.quantity else -p.quantity end), 0)
        from ledger.intent i
        join ledger.posting p on p.intent_id = i.intent_id and p.subject_id = i.subject_id and p.segment_start = i.segment_start
        where i.lane_id = c.lane_id and i.stripe_timestamp >= s.hour_start and i.stripe_timestamp < s.hour_start + interval '1 hour'
            and 4 in (p.from_account, p.to_account) and p.to_account not in (5, 6)
    ) as acknowledged
    from ops.stripe_summary s
    where s.lane_id = c.lane_id and s.hour_start = date_trunc('hour', c.stripe_timestamp, 'UTC')
) h on true
union all
-- One row for each time its intent was divided into billed and missed; an intent is billed as a whole, its events have no lines of their own.
select
    c.identity, c.source, c.id, 90, case when a.quantity_missed = 0 or a.quantity_invoiced <> 0 then 'invoiced' else 'missed_invoice' end, p.recorded_at,
    concat_ws('; ',
        case when p.snapshot_id is null then 'no invoice came: ' || p.invoice_id
            else format('invoice %s%s, line %s', n.invoice_id, ' (' || n.number || ')', coalesce(l.line_ids, 'none')) end,
        format('of intent %s %s billed', c.intent_id, ops.in_unit(a.quantity_invoiced, h.scale)),
        case when a.quantity_missed <> 0 then format('%s missed', ops.in_unit(a.quantity_missed, h.scale)) end)
from derived.event_intent c
join ledger.invoice_allocation a on a.intent_id = c.intent_id
join ledger.invoice_posting p on p.invoice_posting_id = a.invoice_posting_id
join ledger.intent i on i.intent_id = c.intent_id
join derived.subject h on h.subject_id = i.subject_id
left join ledger.invoice_snapshot n on n.snapshot_id = p.snapshot_id
left join lateral (
    select string_agg(x.line_id, ', ' order by x.position) as line_ids
    from ledger.invoice_line x
    where x.snapshot_id = p.snapshot_id and x.subscription_item_id = p.subscription_item_id and x.period_start = p.period_start
) l on true
union all
select
    d.identity, e.source, e.id, 25, 'duplicate', d.arrival,
    format('partition %s, offset %s: the same event again; recorded in batch %s, counted once', d.source_partition, d.source_offset, d.batch_id)
from ledger.duplicate d
join ledger.event e on e.identity = d.identity
union all
select
    c.identity, c.source, c.id, 26, 'conflict', c.arrival,
    format('partition %s, offset %s: the same id with another content (kept %s, seen %s); on the review desk, counted nowhere', c.source_partition, c.source_offset,
        replace(c.kept_payload_hash::text, '-', ''), replace(c.seen_payload_hash::text, '-', ''))
from ledger.conflict c
union all
select
    r.identity, r.source, r.id, 15, 'refused', r.arrival,
    concat_ws('; ', format('partition %s, offset %s: %s', r.source_partition, r.source_offset, r.reason), 'field ' || r.field, r.detail)
from ledger.refusal r
where r.source is not null and r.id is not null;

create view finance.event_journey as
select j.source, j.event_id, j.step, j.at, j.detail, j.place
from derived.event_journey j;

comment on view finance.event_journey is 'The life of every event as the ledger recorded it, one row per step. Order by at, place. Deliveries that the dedupe room dropped as duplicates stand in their batch''s counts, not here.';
comment on column finance.event_journey.source is 'Source of the event.';
comment on column finance.event_journey.event_id is 'Id of the event within its source.';
comment on column finance.event_journey.step is 'arrived, refused, decided, duplicate, conflict, captured, posted, waived, cut, attempted, answered, reported, summarized, invoiced or missed_invoice.';
comment on column finance.event_journey.at is 'When the step happened; of duplicate, conflict and refused, when that delivery arrived.';
comment on column finance.event_journey.detail is 'What happened, in words.';
comment on column finance.event_journey.place is 'Order of steps that happened at the same time.';
