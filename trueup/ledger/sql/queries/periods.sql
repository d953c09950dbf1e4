-- name: standing
-- Four numbers that grow when what is known of periods changes, and the date. Single look-ups in indexes: asked once a batch.
select
    (select coalesce(max(p.period_id), 0) from ledger.billing_period p),
    (select coalesce(max(e.period_event_id), 0) from ledger.period_event e),
    (select coalesce(max(m.mapping_id), 0) from ledger.customer_mapping m),
    (select coalesce(max(v.version), 0) from ledger.catalogue_version v),
    floor(extract(epoch from ops.now()) * 1000)::bigint;

-- name: calendars
-- Every period that counts usage of these customers' meters, each with the meter's own deadline.
with newest as (select max(c.version) as version from ledger.catalogue_version c),
given as (
    select g.customer, g.meter, e.stripe_event_name, ledger.stripe_customer_of(g.customer) as stripe_customer, v.close_margin_seconds
    from unnest(%(customers)s::text[], %(meters)s::text[]) as g (customer, meter)
    cross join newest n
    join ledger.meter_version v on v.version = n.version and v.meter = g.meter
    join ledger.meter_event_name e on e.version = n.version and e.meter = g.meter
)
select
    g.customer, g.meter, ledger.milliseconds(p.period_start), ledger.milliseconds(p.period_end),
    ledger.milliseconds(p.finalizes_at - g.close_margin_seconds * interval '1 s')
from given g
join derived.period p on p.stripe_customer = g.stripe_customer and p.stripe_event_name = g.stripe_event_name
order by 1, 2, 3;

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
values (
    %(subscription_item_id)s, %(period_start)s, %(status)s, %(invoice_id)s, %(deadline)s, %(deadline_basis)s, %(why)s, %(cause_key)s,
    ops.now()
)
on conflict (cause_key) do nothing;

-- name: open
-- Periods that are not settled, with what they are judged by.
select
    p.subscription_item_id, p.subscription_id, p.stripe_customer, p.stripe_event_name,
    ledger.milliseconds(p.period_start) as start_ms, ledger.milliseconds(p.period_end) as end_ms,
    p.status, p.invoice_id, ledger.milliseconds(p.finalizes_at) as finalizes_ms, p.deadline_basis
from derived.period p
where p.status <> 'settled'
order by p.period_end, p.subscription_item_id;

-- name: facts_of_period
-- How often this period was told: the same content told after another one is a new fact.
select count(*) from ledger.billing_period p
where p.subscription_item_id = %(subscription_item_id)s and p.period_start = %(period_start)s;
