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

-- Usage lines of invoices that stand: of each the newest reading, unless it was deleted or voided. And those of the invoices that would be
-- written now: what waits there for the next one is its to bill, however long ago it was used. A preview is forgotten with its subscription.
create view derived.standing_line as
select i.stripe_customer, l.subscription_item_id, l.subscription_id, l.stripe_event_name, l.period_start, l.period_end
from ledger.invoice_snapshot i
join ledger.invoice_line l on l.snapshot_id = i.snapshot_id
where i.status not in ('deleted', 'void') and l.stripe_event_name is not null
    and not exists (select from ledger.invoice_snapshot n where n.invoice_id = i.invoice_id and n.snapshot_id > i.snapshot_id)
union all
select p.stripe_customer, p.subscription_item_id, p.subscription_id, p.stripe_event_name, p.period_start, p.period_end
from ops.invoice_preview_line p
where p.stripe_event_name is not null;

-- Every meter of Stripe's that an item's period ever counted: a swap of prices may leave one that the newest fact does not name. With the
-- first price that counted it, and with the period's end as it is told now.
create view derived.told_period as
select
    f.subscription_item_id, f.subscription_id, f.stripe_customer, f.stripe_event_name, f.price_id, f.currency, f.period_start, n.period_end,
    f.stripe_event_name is not distinct from n.stripe_event_name as counts_still
from ledger.billing_period f
join ledger.billing_period n on n.subscription_item_id = f.subscription_item_id and n.period_start = f.period_start
where n.period_end > n.period_start
    and not exists (
        select from ledger.billing_period x
        where x.subscription_item_id = n.subscription_item_id and x.period_start = n.period_start and x.period_id > n.period_id
    )
    and not exists (
        select from ledger.billing_period x
        where x.subscription_item_id = f.subscription_item_id and x.period_start = f.period_start
            and x.stripe_event_name = f.stripe_event_name and x.period_id < f.period_id
    );

-- Periods that are over and that no invoice bills to their end, as far as anybody can tell, by the meters that they ever counted: what
-- Stripe received of them and no line is over it bills no more.
create view derived.uninvoiced_period as
select
    p.subscription_id, p.subscription_item_id, p.stripe_customer, t.stripe_event_name, p.period_start, p.period_end,
    case when t.counts_still then p.price_id else t.price_id end as price_id, case when t.counts_still then p.currency else t.currency end as currency,
    coalesce(d.ended_at, p.changed_at) as over_at, r.read_at
from derived.period p
join derived.told_period t on t.subscription_item_id = p.subscription_item_id and t.period_start = p.period_start
join ops.invoice_read r on r.stripe_customer = p.stripe_customer
cross join lateral (
    select min(e.created) as ended_at
    from ledger.stripe_event e
    where e.object_id = p.subscription_id and e.type = 'customer.subscription.deleted'
) d
where not exists (
        select from derived.standing_line l
        where l.subscription_item_id = p.subscription_item_id and l.period_start = p.period_start and l.period_end >= p.period_end
            and (t.counts_still or l.stripe_event_name = t.stripe_event_name)
    )
    and (
        -- The subscription ended; a last invoice would have been made at once, and the invoices were read well after that.
        r.read_at > d.ended_at + interval '1 hour'
        -- It goes on: it was backdated behind the period's end, say. Or its invoice was voided, which an earlier one that bills a part of
        -- it makes no better: what that part's line is over is spared one by one.
        or r.read_at > p.finalizes_at + interval '72 hours' and p.status in ('invoiced', 'settled', 'not_provable')
            and (
                p.invoice_id is null and not exists (
                    select from derived.standing_line l
                    where l.subscription_item_id = p.subscription_item_id and l.period_start < p.period_end and l.period_end > p.period_start
                        and (t.counts_still or l.stripe_event_name = t.stripe_event_name)
                )
                or exists (
                    select from ledger.invoice_snapshot s
                    where s.invoice_id = p.invoice_id and s.status in ('deleted', 'void')
                        and not exists (select from ledger.invoice_snapshot n where n.invoice_id = s.invoice_id and n.snapshot_id > s.snapshot_id)
                )
            )
    );

-- The invoice that a period's end brought, which is made at once, when nothing is added to it any more: it is final, or it was given up.
create function derived.closing_invoice(customer_at_stripe text, subscription text, ended_at timestamptz)
returns text language sql stable security definer set search_path = pg_catalog as $$
select s.invoice_id
from ledger.invoice_snapshot s
where s.stripe_customer = customer_at_stripe and s.subscription_id = subscription
    and s.created_at >= ended_at - interval '1 minute' and s.created_at < ended_at + interval '1 day'
    and (s.finalized_at is not null and s.status <> 'draft' or s.status = 'deleted')
    and not exists (select from ledger.invoice_snapshot n where n.invoice_id = s.invoice_id and n.snapshot_id > s.snapshot_id)
order by s.created_at, s.invoice_id
limit 1
$$;

-- Instants of which usage that a subscription would miss can still be billed: a line is over them, which is that line's to bill or to
-- miss; or another subscription counts them, whose period holds them, is not over without an invoice, and has none that is closed.
-- Nothing is billed elsewhere that no subscription would miss.
create function derived.billed_elsewhere(customer_at_stripe text, event_name text, subscription text)
returns tstzmultirange language sql stable security definer set search_path = pg_catalog as $$
select coalesce(range_agg(tstzrange(s.period_start, s.period_end)), '{}')
from (
    select l.period_start, l.period_end
    from derived.standing_line l
    where l.stripe_customer = customer_at_stripe and l.stripe_event_name = event_name and l.period_start < l.period_end
    union all
    select o.period_start, o.period_end
    from derived.period o
    where o.stripe_customer = customer_at_stripe and o.stripe_event_name = event_name and o.subscription_id <> subscription
        and derived.closing_invoice(o.stripe_customer, o.subscription_id, o.period_end) is null
        and not exists (
            select from derived.uninvoiced_period u
            where u.stripe_customer = customer_at_stripe and u.stripe_event_name = event_name
                and u.subscription_item_id = o.subscription_item_id and u.period_start = o.period_start
        )
) s
where subscription is not null
$$;

-- Whether something stands in acknowledged that Stripe received for these instants; where it is to be missed by a subscription, something
-- that no other one can bill.
create function derived.stands_acknowledged(
    lane bigint, customer_at_stripe text, event_name text, missed_by text, from_time timestamptz, to_time timestamptz
)
returns boolean language sql stable security definer set search_path = pg_catalog as $$
select exists (
    select from derived.acknowledged_intent a
    where a.lane_id = lane and a.stripe_timestamp >= from_time and a.stripe_timestamp < to_time
        -- Asked once, and not at all where nothing stands.
        and not (select derived.billed_elsewhere(customer_at_stripe, event_name, missed_by)) @> a.stripe_timestamp
)
$$;

-- Acknowledged usage of a period whose invoice is final and has no line over it: a price that was swapped, an item that was taken out.
-- Every price that an item's period ever had counts. What lies before the lines of its meter, between two of them, and behind them, each
-- for itself.
create view derived.unlined_item as
with invoice as materialized (
    select * from derived.invoice
), line as materialized (
    select l.* from derived.standing_line l where l.subscription_item_id is not null
), closed as (
    -- The invoice that its end brought; it is made at once.
    select distinct on (t.subscription_item_id, t.period_start, t.stripe_event_name)
        t.*, i.invoice_id, i.snapshot_id, i.status, i.finalized_at, i.read_at
    from derived.told_period t
    join invoice i
        on i.subscription_id = t.subscription_id and i.finalized_at is not null and i.status in ('open', 'paid', 'uncollectible')
        and i.created_at >= t.period_end - interval '1 minute' and i.created_at < t.period_end + interval '1 day'
    order by t.subscription_item_id, t.period_start, t.stripe_event_name, i.created_at, i.invoice_id
), lined as (
    select c.subscription_item_id, c.period_start, c.stripe_event_name, range_agg(tstzrange(l.period_start, l.period_end)) as lines
    from closed c
    join line l
        on l.stripe_customer = c.stripe_customer and l.stripe_event_name = c.stripe_event_name
        and l.period_start < c.period_end and l.period_end > c.period_start and l.period_start < l.period_end
    group by c.subscription_item_id, c.period_start, c.stripe_event_name
)
select
    format('unlined:%s:%s', c.invoice_id, c.stripe_event_name) as invoice_id, c.snapshot_id, c.stripe_customer, c.status, c.finalized_at, c.read_at,
    c.subscription_item_id, c.stripe_event_name, g.gap_start as period_start, g.gap_end as period_end, c.price_id, c.currency, c.subscription_id
from closed c
left join lined l
    on l.subscription_item_id = c.subscription_item_id and l.period_start = c.period_start and l.stripe_event_name = c.stripe_event_name
join ledger.lane n on n.stripe_customer = c.stripe_customer and n.stripe_event_name = c.stripe_event_name
cross join lateral (
    select lower(h.hole) as gap_start, upper(h.hole) as gap_end
    from unnest(tstzmultirange(tstzrange(c.period_start, c.period_end)) - coalesce(l.lines, '{}')) as h (hole)
) g
where derived.stands_acknowledged(n.lane_id, c.stripe_customer, c.stripe_event_name, c.subscription_id, g.gap_start, g.gap_end)
    or exists (
        select from ledger.invoice_posting p
        where p.invoice_id = format('unlined:%s:%s', c.invoice_id, c.stripe_event_name)
            and p.subscription_item_id = c.subscription_item_id and p.period_start = g.gap_start
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
        sum(l.amount_minor) as amount_minor,
        -- Whose usage it is where no invoice bills any of it.
        null as missed_by
    from derived.invoice i
    join ledger.invoice_line l on l.snapshot_id = i.snapshot_id
    where l.stripe_event_name is not null and l.subscription_item_id is not null
    group by i.invoice_id, i.snapshot_id, i.stripe_customer, i.status, i.finalized_at, i.read_at, l.subscription_item_id,
        l.stripe_event_name, l.period_start, l.period_end
    union all
    -- Of a period that nobody will bill, what Stripe received is missed. One of which something was missed, and that an invoice bills after
    -- all, is seen. A meter that a swap left has a name of its own, since the same item's period may have missed something of both.
    select
        o.invoice_id, null, t.stripe_customer, 'none', u.over_at, coalesce(u.read_at, r.read_at), t.subscription_item_id,
        t.stripe_event_name, t.period_start, t.period_end, coalesce(u.price_id, t.price_id), coalesce(u.currency, t.currency), 0, 0,
        t.subscription_id
    from derived.told_period t
    cross join lateral (
        select concat_ws(':', 'none', t.subscription_id, case when not t.counts_still then t.stripe_event_name end) as invoice_id
    ) o
    join ops.invoice_read r on r.stripe_customer = t.stripe_customer
    join ledger.lane n on n.stripe_customer = t.stripe_customer and n.stripe_event_name = t.stripe_event_name
    left join derived.uninvoiced_period u
        on u.subscription_item_id = t.subscription_item_id and u.period_start = t.period_start and u.stripe_event_name = t.stripe_event_name
    where exists (
            select from ledger.invoice_posting x
            where x.invoice_id = o.invoice_id and x.subscription_item_id = t.subscription_item_id and x.period_start = t.period_start
        )
        or u.subscription_item_id is not null
            and derived.stands_acknowledged(n.lane_id, t.stripe_customer, t.stripe_event_name, t.subscription_id, t.period_start, t.period_end)
    union all
    -- Received for a period whose invoice is final, under no line of it: missed as a whole.
    select
        u.invoice_id, u.snapshot_id, u.stripe_customer, u.status, u.finalized_at, u.read_at, u.subscription_item_id, u.stripe_event_name,
        u.period_start, u.period_end, u.price_id, u.currency, 0, 0, u.subscription_id
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
