-- What a person has to decide: late usage, usage that missed its deadline, and events whose second payload differs. A case grows
-- until it is decided.
create view finance.review_queue as
with told_intent as (
    -- Captured in time, and not through when the deadline came: never sent.
    select 'past_deadline' as kind, o.intent_id, o.recorded_at as opened_at, null as stripe_event_name
    from ledger.outcome o
    where o.class = 'expired'
    union all
    -- Stripe received it, and no billing period covers it: the subscription was cancelled, or there never was one. A week is left for a
    -- subscription that begins in the past, or for a renewal that is not known yet; once the last one was cancelled a day is.
    select 'no_subscription', u.intent_id, u.opened_at, u.stripe_event_name
    from (
        select
            a.intent_id,
            n.stripe_event_name,
            a.acknowledged_at + case when a.stripe_timestamp >= r.ends_at and exists (
                select from ledger.billing_period b
                join ledger.stripe_event d on d.object_id = b.subscription_id and d.type = 'customer.subscription.deleted'
                where b.stripe_customer = n.stripe_customer and b.stripe_event_name = n.stripe_event_name and b.period_end = r.ends_at
            ) then interval '1 day' else interval '7 days' end as opened_at
        from derived.acknowledged_intent a
        join ledger.lane n on n.lane_id = a.lane_id
        left join derived.item_reach r on r.stripe_customer = n.stripe_customer and r.stripe_event_name = n.stripe_event_name
        where not exists (
            select from derived.priced_period p
            where p.stripe_customer = n.stripe_customer and p.stripe_event_name = n.stripe_event_name
                and p.period_start <= a.stripe_timestamp and p.period_end > a.stripe_timestamp
        )
        -- Nor does a line bill it, or the coming invoice: a swap leaves the meter of the plan before, and what was used of it is billed.
        and not exists (
            select from derived.standing_line l
            where l.stripe_customer = n.stripe_customer and l.stripe_event_name = n.stripe_event_name
                and l.period_start <= a.stripe_timestamp and l.period_end > a.stripe_timestamp
        )
    ) u
    where u.opened_at <= ops.now()
), item as (
    select
        case when e.late then 'late' else 'past_deadline' end as kind,
        e.customer,
        e.meter,
        e.source,
        e.event_time,
        case when e.late then e.arrival - e.event_time - m.billing_window_seconds * interval '1 second' end as late_by,
        e.billable_quantity as quantity,
        b.recorded_at,
        null as stripe_event_name
    from ledger.event e
    join derived.event_destination d on d.identity = e.identity and d.to_account = 8
    join ledger.batch b on b.batch_id = e.batch_id
    left join lateral (
        -- The version that decided it is on the progress record that announced it.
        select s.catalogue_version
        from ledger.source_batch s
        where s.source_partition = e.source_partition and s.first_offset <= e.source_offset
        order by s.first_offset desc
        limit 1
    ) v on true
    left join ledger.meter_version m on m.version = v.catalogue_version and m.meter = e.meter
    union all
    -- The events behind an intent, and behind those of which it sends again what had not landed.
    select u.kind, e.customer, e.meter, e.source, e.event_time, null, e.billable_quantity, u.opened_at, u.stripe_event_name
    from told_intent u
    cross join lateral (
        with recursive behind (intent_id) as (
            select u.intent_id
            union
            select p.intent_id
            from behind s
            join ledger.intent i on i.intent_id = s.intent_id
            join ledger.posting p
                on p.subject_id = i.subject_id and p.segment_start = i.segment_start and p.from_account = 3 and p.to_account = 2
                and p.batch_id > i.after_batch and p.batch_id <= i.through_batch
        )
        select s.intent_id from behind s
    ) s
    join ledger.intent i on i.intent_id = s.intent_id
    join ledger.event e
        on e.subject_id = i.subject_id and e.batch_id > i.after_batch and e.batch_id <= i.through_batch
        and e.event_time >= i.segment_start and e.event_time < i.segment_end
    join derived.event_destination d on d.identity = e.identity and d.to_account = 2
    where u.kind <> 'no_subscription' or not exists (select from ledger.never_billed_customer w where w.customer = e.customer)
    union all
    select 'conflict', c.customer, c.meter, c.source, c.event_time, null, c.quantity, b.recorded_at, null
    from (
        -- The same second payload sent again says nothing new.
        select distinct on (x.identity, x.seen_payload_hash) x.*
        from ledger.conflict x
        order by x.identity, x.seen_payload_hash, x.batch_id, x.source_partition, x.source_offset
    ) c
    join ledger.batch b on b.batch_id = c.batch_id
), placed as (
    select i.*, coalesce(p.period_start, date_trunc('month', i.event_time, 'UTC')) as period_start, p.deadline
    from item i
    left join lateral (
        select q.period_start, q.deadline
        from derived.period_subject q
        where q.customer = i.customer and q.meter = i.meter and q.period_start <= i.event_time and q.period_end > i.event_time
        order by q.deadline
        limit 1
    ) p on true
), grouped as (
    select
        i.kind,
        i.customer,
        i.meter,
        i.source,
        i.period_start,
        min(i.deadline) as deadline,
        min(i.event_time) as first_event_time,
        max(i.late_by) as late_by,
        sum(i.quantity) as quantity,
        count(*) as event_count,
        min(i.recorded_at) as opened_at,
        min(i.stripe_event_name) as stripe_event_name
    from placed i
    group by i.kind, i.customer, i.meter, i.source, i.period_start
), priced as (
    -- As unbilled_usage has it: the item's period that holds it, of two the one that began last; outside of every period the last price.
    select distinct on (g.kind, g.customer, g.meter, g.source, g.period_start)
        g.*, p.currency,
        case when p.period_start <= g.first_event_time and p.period_end > g.first_event_time
            then derived.margin_at(p.subscription_item_id, p.stripe_event_name, p.period_end, g.first_event_time)
            else p.unit_amount_decimal
        end as unit_amount_decimal
    from grouped g
    left join derived.customer_item_period p
        on p.customer = g.customer and p.meter = g.meter and g.kind <> 'conflict'
        and (p.stripe_event_name = g.stripe_event_name or p.period_start <= g.first_event_time and p.period_end > g.first_event_time)
    order by g.kind, g.customer, g.meter, g.source, g.period_start, case when g.kind = 'no_subscription' then p.period_end end desc nulls last,
        p.period_start desc nulls last, p.subscription_item_id
)
select
    -- Each part goes in with its length, so that no two cases share an id.
    g.kind || '-' || left(encode(sha256(convert_to(
        length(g.customer) || ':' || g.customer || length(g.meter) || ':' || g.meter || length(g.source) || ':' || g.source
        || extract(epoch from g.period_start)::bigint, 'UTF8'
    )), 'hex'), 24) as review_id,
    g.kind,
    g.customer as customer_id,
    g.meter,
    g.period_start,
    g.first_event_time,
    ceil(extract(epoch from g.late_by))::bigint as late_by,
    ops.in_unit(g.quantity, coalesce(m.scale, 0)) as quantity,
    ops.to_minor_units(ops.in_unit(g.quantity, coalesce(m.scale, 0)) * g.unit_amount_decimal) as amount_minor,
    case when g.unit_amount_decimal is not null then g.currency end as currency,
    g.deadline,
    'open' as status,
    null::text as decision,
    null::text as decided_by,
    null::timestamptz as decided_at,
    null::text as reason,
    g.source,
    g.quantity as quantity_smallest,
    g.event_count,
    (g.opened_at at time zone 'UTC')::date as booked_on
from priced g
left join derived.meter m on m.meter = g.meter;

comment on view finance.review_queue is 'Cases a person decides, one per customer, meter, period, kind and source. A case grows until it is decided.';
comment on column finance.review_queue.review_id is 'Id of the case; the same for as long as the case grows.';
comment on column finance.review_queue.kind is 'late (it came after the meter''s billing window), past_deadline (it could not reach its own invoice any more), no_subscription (Stripe received it and no billing period covers it: a day after its last subscription was cancelled, else a week) or conflict (an id that was recorded already came again with another content).';
comment on column finance.review_queue.customer_id is 'Our id of the customer; of a conflict, as its second payload says.';
comment on column finance.review_queue.meter is 'Meter of the catalogue; of a conflict, as its second payload says.';
comment on column finance.review_queue.period_start is 'Start of the period the usage belongs to: the billing period, or the UTC calendar month of its event time while that is not known.';
comment on column finance.review_queue.first_event_time is 'Event time of the earliest usage in the case.';
comment on column finance.review_queue.late_by is 'By how many seconds the latest comer missed its billing window; null for a conflict.';
comment on column finance.review_queue.quantity is 'Quantity in the meter''s unit; of a conflict, what the second payloads claim, which counts nowhere.';
comment on column finance.review_queue.amount_minor is 'What it is worth at the customer''s marginal price in its period, outside of every period at the last one''s, in minor units of the currency; null where no price is known, and of a conflict.';
comment on column finance.review_queue.currency is 'ISO 4217 currency of the amount; null where no price is known.';
comment on column finance.review_queue.deadline is 'Until when it can still reach its own invoice; null while the period is not known.';
comment on column finance.review_queue.status is 'open or decided.';
comment on column finance.review_queue.decision is 'What was decided; null while open.';
comment on column finance.review_queue.decided_by is 'Who decided; null while open.';
comment on column finance.review_queue.decided_at is 'When it was decided; null while open.';
comment on column finance.review_queue.reason is 'The reason given with the decision; null while open.';
comment on column finance.review_queue.source is 'Source of the events.';
comment on column finance.review_queue.quantity_smallest is 'The quantity as an integer, in the meter''s smallest unit.';
comment on column finance.review_queue.event_count is 'How many events are in the case.';
comment on column finance.review_queue.booked_on is 'UTC day on which the case opened; never changes.';
