-- name: standing
-- Five numbers that grow when what is known of periods changes, one that grows with who is never billed, and the date. Single
-- look-ups in indexes: asked once a batch.
select
    (select coalesce(max(p.period_id), 0) from ledger.billing_period p),
    (select coalesce(max(e.period_event_id), 0) from ledger.period_event e),
    (select coalesce(max(m.mapping_id), 0) from ledger.customer_mapping m),
    (select coalesce(max(v.version), 0) from ledger.catalogue_version v),
    (select coalesce(max(f.plan_fact_id), 0) from ledger.plan_fact f),
    (select coalesce(max(n.never_billed_id), 0) from ledger.never_billed_customer n),
    floor(extract(epoch from ops.now()) * 1000)::bigint;

-- name: calendars
-- Every period that counts usage of these customers' meters, each with the meter's own deadline.
with given as (
    select g.customer, g.meter, e.stripe_event_name, ledger.stripe_customer_of(g.customer) as stripe_customer, v.close_margin_seconds
    from unnest(%(customers)s::text[], %(meters)s::text[]) as g (customer, meter)
    cross join lateral (select max(x.version) as version from ledger.meter_version x where x.meter = g.meter) n
    join ledger.meter_version v on v.version = n.version and v.meter = g.meter
    join ledger.meter_event_name e on e.version = n.version and e.meter = g.meter
)
select
    g.customer, g.meter, ledger.milliseconds(p.period_start), ledger.milliseconds(p.period_end),
    ledger.milliseconds(p.finalizes_at - g.close_margin_seconds * interval '1 s')
from given g
join derived.period p on p.stripe_customer = g.stripe_customer and p.stripe_event_name = g.stripe_event_name
order by 1, 2, 3;

-- name: plan_changes
select distinct f.customer, ledger.milliseconds(f.effective_from)
from ledger.plan_fact f
where f.customer = any(%(customers)s::text[])
order by 1, 2;

-- name: held
-- The newest fact of each period of these items.
select distinct on (p.subscription_item_id, p.period_start)
    p.subscription_item_id, p.subscription_id, p.stripe_customer, p.price_id, p.stripe_event_name, p.plan, p.currency,
    ledger.milliseconds(p.period_start) as start_ms, ledger.milliseconds(p.period_end) as end_ms
from ledger.billing_period p
where p.subscription_item_id = any(%(item_ids)s::text[])
order by p.subscription_item_id, p.period_start, p.period_id desc;

-- name: add_period
insert into ledger.billing_period (
    subscription_item_id, subscription_id, stripe_customer, price_id, stripe_event_name, plan, currency, period_start, period_end,
    cause_key, recorded_at
)
select
    %(subscription_item_id)s, %(subscription_id)s, %(stripe_customer)s, %(price_id)s, %(stripe_event_name)s, %(plan)s, %(currency)s,
    %(period_start)s, %(period_end)s, %(cause_key)s, ops.now()
-- What stands there already need not be said again; when something else was said in between, the same content is a new fact.
where not exists (
    select from (
        select * from ledger.billing_period p
        where p.subscription_item_id = %(subscription_item_id)s and p.period_start = %(period_start)s
        order by p.period_id desc limit 1
    ) held
    where held.period_end = %(period_end)s and held.price_id = %(price_id)s and held.stripe_event_name = %(stripe_event_name)s
      and held.plan is not distinct from %(plan)s
)
on conflict (cause_key) do nothing;

-- name: add_event
insert into ledger.period_event (
    subscription_item_id, period_start, status, invoice_id, deadline, deadline_basis, why, cause_key, recorded_at
)
select
    %(subscription_item_id)s, %(period_start)s, %(status)s, %(invoice_id)s, %(deadline)s, %(deadline_basis)s, %(why)s, %(cause_key)s,
    ops.now()
-- As for periods: a date that was moved and moved back is told a third time, and the third time counts.
where not exists (
    select from (
        select * from ledger.period_event e
        where e.subscription_item_id = %(subscription_item_id)s and e.period_start = %(period_start)s
        order by e.period_event_id desc limit 1
    ) held
    where held.status = %(status)s and held.invoice_id is not distinct from %(invoice_id)s
      and held.deadline is not distinct from %(deadline)s and held.deadline_basis is not distinct from %(deadline_basis)s
)
on conflict (cause_key) do nothing;

-- name: unsettled
-- Whose periods are not done with.
select distinct p.stripe_customer
from derived.period p
where p.status not in ('settled', 'not_provable') or p.status = 'not_provable' and p.invoice_id is null;

-- name: facts_of_period
-- How often this period was told: the same content told after another one is a new fact.
select count(*) from ledger.billing_period p
where p.subscription_item_id = %(subscription_item_id)s and p.period_start = %(period_start)s;

-- name: events_of_period
select count(*) from ledger.period_event e
where e.subscription_item_id = %(subscription_item_id)s and e.period_start = %(period_start)s;

-- name: due
-- Periods that are not done with, of some Stripe customers or of all, with everything they are judged by.
select
    p.subscription_item_id, p.subscription_id, p.stripe_customer, p.customer, p.stripe_event_name, p.scale,
    ledger.milliseconds(p.period_start) as start_ms, ledger.milliseconds(p.period_end) as end_ms,
    ledger.milliseconds(p.minute_start) as minute_start_ms, ledger.milliseconds(p.minute_end) as minute_end_ms,
    p.status, p.invoice_id, ledger.milliseconds(p.finalizes_at) as finalizes_ms, p.deadline_basis,
    ledger.milliseconds(p.finalizes_at) - ledger.milliseconds(p.deadline) as margin_ms,
    p.summary_settle_seconds, p.unsent_segments, p.expired_intents, p.open_intents, p.acknowledged, p.lane_id is not null as any_usage,
    ledger.milliseconds(p.answered_at) as answered_ms,
    p.checked_acknowledged, p.quantity_stripe, ledger.milliseconds(p.read_at) as read_ms,
    p.previous_quantity_stripe, ledger.milliseconds(p.previous_read_at) as previous_read_ms,
    p.provable, p.why_not, ledger.milliseconds(p.captured_by) as captured_by_ms,
    coalesce(p.captured_through >= p.captured_by, false) as captured, ledger.milliseconds(p.foretold_at) as foretold_ms
from derived.period_judged p
where p.stripe_customer = any(%(stripe_customers)s)
    and (p.status not in ('settled', 'not_provable') or p.status = 'not_provable' and p.invoice_id is null)
order by p.period_end, p.subscription_item_id;

-- name: captured_offsets
-- Up to which offset each of these partitions of the source topic is captured.
select g.partition, coalesce((
    select s.next_offset from ledger.source_batch s where s.source_partition = g.partition order by s.first_offset desc limit 1
), (
    -- Nothing before it can ever be captured here.
    select max(o.source_offset) from ops.source_offset o where o.partition = g.partition
), 0)
from unnest(%(partitions)s::integer[]) as g (partition);

-- name: store_captured_through
insert into ops.captured_through as c (through) values (%(through)s)
on conflict (only_row) do update set through = greatest(c.through, excluded.through);

-- name: store_check
insert into ops.period_check as k (subscription_item_id, period_start, quantity_acknowledged, quantity_stripe, read_at)
values (%(subscription_item_id)s, %(period_start)s, %(acknowledged)s, %(stripe)s, %(read_at)s)
on conflict (subscription_item_id, period_start) do update
set quantity_acknowledged = excluded.quantity_acknowledged, quantity_stripe = excluded.quantity_stripe, read_at = excluded.read_at,
    -- The first of two readings stays until it is old enough to be the other one.
    previous_quantity_stripe = case
        when k.previous_read_at is null or k.previous_quantity_stripe <> k.quantity_stripe then k.quantity_stripe
        else k.previous_quantity_stripe
    end,
    previous_read_at = case
        when k.previous_read_at is null or k.previous_quantity_stripe <> k.quantity_stripe then k.read_at
        else k.previous_read_at
    end;

-- name: add_stripe_event
insert into ledger.stripe_event (event_id, type, object_id, stripe_customer, created, received_at, via, body, recorded_at)
values (%(event_id)s, %(type)s, %(object_id)s, %(stripe_customer)s, %(created)s, %(received_at)s, %(via)s, %(body)s::jsonb, ops.now())
on conflict (event_id) do nothing;

-- name: last_webhook
-- When a notification reached the door last. Of the newest only, since nobody wants the whole table read for it: one that Stripe tries
-- again is days older at most.
select ledger.milliseconds(max(w.received_at))
from (select e.received_at from ledger.stripe_event e where e.via = 'webhook' order by e.created desc limit 1000) w;

-- name: newest_report
select ledger.milliseconds(max(r.created)) from ledger.meter_error_report r;

-- name: add_report
insert into ledger.meter_error_report (event_id, stripe_meter_id, created, error_count, body, recorded_at)
values (%(event_id)s, %(stripe_meter_id)s, %(created)s, %(error_count)s, %(body)s::jsonb, ops.now())
on conflict (event_id) do nothing;

-- name: shown
select p.*
from finance.period_status p
where %(customer)s::text is null or p.customer_id = %(customer)s
order by p.customer_id, p.period_start, p.meter, p.subscription_item_id;

-- name: polled
select ledger.milliseconds(g.polled_at) from ops.event_poll g;

-- name: store_poll
insert into ops.event_poll as g (polled_at, missed_total, missed_at)
values (%(polled_at)s, %(missed)s, case when %(missed)s > 0 then ops.now() end)
on conflict (only_row) do update
set polled_at = greatest(g.polled_at, excluded.polled_at), missed_total = g.missed_total + excluded.missed_total,
    missed_at = coalesce(excluded.missed_at, g.missed_at)
returning ledger.milliseconds(g.missed_at);

-- name: at_risk
-- What lies before its deadline, by state, in the order of dates: the earliest deadline of each.
select 'unsent' as state, ledger.milliseconds(min(u.deadline))
-- What waits for a customer, a plan or a price has an alert of its own, and what is about to be waived waits for nobody.
from ops.uncovered_segment u
where u.deadline is not null
    and coalesce(u.waits_for, '') not in ('unmapped', 'no_plan', 'ambiguous_plan', 'no_price', 'no_event_name', 'never_billed')
union all
select 'in_flight', ledger.milliseconds(min(o.deadline)) from ops.open_intent o where o.deadline is not null
union all
-- One that is over for a period that is not provable is nobody's to keep any more.
select p.status, ledger.milliseconds(min(p.finalizes_at))
from derived.period p
where p.status = 'not_provable' and p.finalizes_at > ops.now()
group by p.status;

-- name: lately_not_provable
-- Periods whose deadline came before their proof, within the last day: how many, and what of them is not proved to be with Stripe.
select p.currency, count(*), coalesce(sum(p.unproved_amount_minor), 0)
from finance.period_status p
where p.status = 'not_provable' and p.status_since > ops.now() - interval '1 day'
group by p.currency;
