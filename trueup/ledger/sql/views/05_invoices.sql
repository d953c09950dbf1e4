-- Invoices as they stand, and what was posted for them.
create view derived.invoice as
select distinct on (s.invoice_id) s.*
from ledger.invoice_snapshot s
order by s.invoice_id, s.snapshot_id desc;

-- What Stripe acknowledged and no invoice has taken up yet: all of an intent at once, under the timestamp it was sent with.
create view derived.acknowledged_intent as
select
    i.intent_id, i.lane_id, i.subject_id, i.segment_start, i.segment_end, i.stripe_timestamp, o.recorded_at as acknowledged_at,
    p.quantity, p.events, p.oldest_event_time, p.newest_event_time, p.batch_id
from ledger.intent i
join ledger.outcome o on o.intent_id = i.intent_id and o.final
join ledger.posting p
    on p.subject_id = i.subject_id and p.segment_start = i.segment_start and p.intent_id = i.intent_id
    and p.from_account = 3 and p.to_account = 4
where not exists (select from ledger.invoice_allocation a where a.intent_id = i.intent_id);

-- Acknowledged usage of a period whose invoice is final and has no line over it: a price that was swapped, an item that was taken out.
-- Every price that an item's period ever had counts. What lies before the lines of its meter, and what lies behind them, each for itself.
create view derived.unlined_item as
with invoice as materialized (
    select * from derived.invoice
), line as materialized (
    select i.stripe_customer, l.stripe_event_name, l.period_start, l.period_end
    from invoice i
    join ledger.invoice_line l on l.snapshot_id = i.snapshot_id
    where i.status not in ('deleted', 'void') and l.stripe_event_name is not null and l.subscription_item_id is not null
), told as (
    select distinct on (f.subscription_item_id, f.period_start, f.stripe_event_name)
        f.subscription_item_id, f.subscription_id, f.stripe_customer, f.stripe_event_name, f.price_id, f.currency, f.period_start,
        last_value(f.period_end) over told_so_far as period_end
    from ledger.billing_period f
    window told_so_far as (
        partition by f.subscription_item_id, f.period_start order by f.period_id rows between unbounded preceding and unbounded following
    )
    order by f.subscription_item_id, f.period_start, f.stripe_event_name, f.period_id
), closed as (
    -- The invoice that its end brought; it is made at once.
    select distinct on (t.subscription_item_id, t.period_start, t.stripe_event_name)
        t.*, i.invoice_id, i.snapshot_id, i.status, i.finalized_at, i.read_at
    from told t
    join invoice i
        on i.subscription_id = t.subscription_id and i.finalized_at is not null and i.status in ('open', 'paid', 'uncollectible')
        and i.created_at >= t.period_end - interval '1 hour' and i.created_at < t.period_end + interval '1 day'
    order by t.subscription_item_id, t.period_start, t.stripe_event_name, i.created_at, i.invoice_id
), lined as (
    select c.subscription_item_id, c.period_start, c.stripe_event_name, min(l.period_start) as lines_from, max(l.period_end) as lines_to
    from closed c
    join line l
        on l.stripe_customer = c.stripe_customer and l.stripe_event_name = c.stripe_event_name
        and l.period_start < c.period_end and l.period_end > c.period_start
    group by c.subscription_item_id, c.period_start, c.stripe_event_name
)
select
    format('unlined:%s:%s', c.invoice_id, c.stripe_event_name) as invoice_id, c.snapshot_id, c.stripe_customer, c.status, c.finalized_at, c.read_at,
    c.subscription_item_id, c.stripe_event_name, g.gap_start as period_start, g.gap_end as period_end, c.price_id, c.currency
from closed c
left join lined l
    on l.subscription_item_id = c.subscription_item_id and l.period_start = c.period_start and l.stripe_event_name = c.stripe_event_name
join ledger.lane n on n.stripe_customer = c.stripe_customer and n.stripe_event_name = c.stripe_event_name
cross join lateral (
    values (c.period_start, coalesce(l.lines_from, c.period_end)), (l.lines_to, c.period_end)
) as g (gap_start, gap_end)
where g.gap_start < g.gap_end
    -- Another subscription that counts the same usage may bill it.
    and not exists (
        select from derived.period o
        where o.stripe_customer = c.stripe_customer and o.stripe_event_name = c.stripe_event_name
            and o.subscription_id <> c.subscription_id and o.period_start < g.gap_end and o.period_end > g.gap_start
    )
    and (
        exists (
            select from derived.acknowledged_intent a
            where a.lane_id = n.lane_id and a.stripe_timestamp >= g.gap_start and a.stripe_timestamp < g.gap_end
        )
        or exists (
            select from ledger.invoice_posting p
            where p.invoice_id = format('unlined:%s:%s', c.invoice_id, c.stripe_event_name)
                and p.subscription_item_id = c.subscription_item_id and p.period_start = g.gap_start
        )
    );

-- A subscription item's period on an invoice: its usage lines together, beside what the ledger posted for them.
create view derived.billed_item as
with grouped as (
    select
        i.invoice_id,
        i.snapshot_id,
        i.stripe_customer,
        i.status,
        i.finalized_at,
        i.read_at,
        l.subscription_item_id,
        l.stripe_event_name,
        l.period_start,
        l.period_end,
        min(l.price_id) as price_id,
        min(l.currency) as currency,
        sum(l.quantity_decimal) as quantity_decimal,
        sum(l.amount_minor) as amount_minor
    from derived.invoice i
    join ledger.invoice_line l on l.snapshot_id = i.snapshot_id
    where l.stripe_event_name is not null and l.subscription_item_id is not null
    group by i.invoice_id, i.snapshot_id, i.stripe_customer, i.status, i.finalized_at, i.read_at, l.subscription_item_id,
        l.stripe_event_name, l.period_start, l.period_end
    union all
    -- A subscription that ended without an invoice for the period bills nothing of it any more: what Stripe received is missed.
    select
        'none:' || p.subscription_id, null, p.stripe_customer, 'none', d.ended_at, r.read_at, p.subscription_item_id, p.stripe_event_name,
        p.period_start, p.period_end, p.price_id, p.currency, 0, 0
    from derived.period p
    join (
        select e.object_id, min(e.created) as ended_at
        from ledger.stripe_event e
        where e.type = 'customer.subscription.deleted'
        group by e.object_id
    ) d on d.object_id = p.subscription_id
    -- A last invoice would have been made at once; the invoices were read well after that.
    join ops.invoice_read r on r.stripe_customer = p.stripe_customer and r.read_at > d.ended_at + interval '1 hour'
    where not exists (
        select from ledger.invoice_line l
        where l.subscription_item_id = p.subscription_item_id and l.period_start = p.period_start
    )
    union all
    -- A period that is over and for which no invoice came, though its subscription goes on: one that was backdated behind its end, say.
    select
        'none:' || p.subscription_id, null, p.stripe_customer, 'none', p.changed_at, r.read_at, p.subscription_item_id, p.stripe_event_name,
        p.period_start, p.period_end, p.price_id, p.currency, 0, 0
    from derived.period p
    join ops.invoice_read r on r.stripe_customer = p.stripe_customer and r.read_at > p.finalizes_at + interval '72 hours'
    join ledger.lane n on n.stripe_customer = p.stripe_customer and n.stripe_event_name = p.stripe_event_name
    where p.status in ('settled', 'not_provable') and p.invoice_id is null
        and not exists (select from ledger.stripe_event e where e.type = 'customer.subscription.deleted' and e.object_id = p.subscription_id)
        and not exists (
            select from ledger.invoice_line l
            where l.subscription_item_id = p.subscription_item_id and l.period_start < p.period_end and l.period_end > p.period_start
        )
        and (
            exists (
                select from derived.acknowledged_intent a
                where a.lane_id = n.lane_id and a.stripe_timestamp >= p.period_start and a.stripe_timestamp < p.period_end
            )
            or exists (
                select from ledger.invoice_posting x
                where x.invoice_id = 'none:' || p.subscription_id and x.subscription_item_id = p.subscription_item_id
                    and x.period_start = p.period_start
            )
        )
    union all
    -- Received for a period whose invoice is final, under no line of it: missed as a whole.
    select
        u.invoice_id, u.snapshot_id, u.stripe_customer, u.status, u.finalized_at, u.read_at, u.subscription_item_id, u.stripe_event_name,
        u.period_start, u.period_end, u.price_id, u.currency, 0, 0
    from derived.unlined_item u
), posted as (
    select
        p.invoice_id,
        p.subscription_item_id,
        p.period_start,
        count(*) as postings,
        sum(p.quantity_invoiced) as quantity_invoiced,
        sum(p.quantity_missed) as quantity_missed,
        sum(p.amount_missed_minor) as amount_missed_minor
    from ledger.invoice_posting p
    group by p.invoice_id, p.subscription_item_id, p.period_start
)
select
    g.*,
    n.lane_id,
    coalesce(m.meter, g.stripe_event_name) as meter,
    coalesce(m.unit, '') as unit,
    coalesce(m.scale, 0) as scale,
    g.finalized_at is not null and g.status in ('open', 'paid', 'uncollectible', 'none') as billed,
    coalesce(p.postings, 0) as postings,
    coalesce(p.quantity_invoiced, 0) as quantity_invoiced,
    coalesce(p.quantity_missed, 0) as quantity_missed,
    p.amount_missed_minor
from grouped g
left join posted p
    on p.invoice_id = g.invoice_id and p.subscription_item_id = g.subscription_item_id and p.period_start = g.period_start
left join ledger.lane n on n.stripe_customer = g.stripe_customer and n.stripe_event_name = g.stripe_event_name
left join lateral (
    select e.meter
    from ledger.meter_event_name e
    where e.stripe_event_name = g.stripe_event_name
    order by e.version desc
    limit 1
) e on true
left join derived.meter m on m.meter = e.meter;

-- Who a Stripe customer is with us.
create view derived.stripe_customer as
select distinct on (k.stripe_customer) k.stripe_customer, k.customer
from (
    select m.stripe_customer, m.customer from ledger.customer_mapping m
    union all
    select s.customer, s.customer from ledger.subject s where starts_with(s.customer, 'cus_')
) k
order by k.stripe_customer, k.customer;
