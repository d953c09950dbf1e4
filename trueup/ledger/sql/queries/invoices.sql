-- name: customers
-- Whose invoices may be read, and what says when: a draft that becomes final, a period that ended, a notification.
with draft as (
    select i.stripe_customer, min(i.automatically_finalizes_at) as finalizes_at
    from ledger.invoice_snapshot i
    where i.status = 'draft' and not exists (
        select from ledger.invoice_snapshot n where n.invoice_id = i.invoice_id and n.snapshot_id > i.snapshot_id
    )
    group by i.stripe_customer
), ending as (
    -- Once it was read well after its end, a period without a line has none: it is not asked for again and again.
    select p.stripe_customer, min(p.period_end) as period_end
    from (
        select m.stripe_customer, m.subscription_item_id, m.period_start, m.period_end from ops.marginal_price m
        union
        select d.stripe_customer, d.subscription_item_id, d.period_start, d.period_end from derived.period d
    ) p
    join ops.invoice_read r on r.stripe_customer = p.stripe_customer
    where p.period_end > r.read_at - interval '1 hour' and not exists (
        select from ledger.invoice_line l where l.subscription_item_id = p.subscription_item_id and l.period_start = p.period_start
    )
    group by p.stripe_customer
), hinted as (
    select e.stripe_customer, max(e.recorded_at) as recorded_at
    from ledger.stripe_event e
    join ops.invoice_read r on r.stripe_customer = e.stripe_customer
    where e.created > ops.now() - interval '30 days' and starts_with(e.type, 'invoice.') and e.recorded_at > r.read_at
    group by e.stripe_customer
)
select
    c.customer, c.stripe_customer, ledger.milliseconds(r.read_at) as read_at_ms, ledger.milliseconds(d.finalizes_at) as finalizes_at_ms,
    ledger.milliseconds(n.period_end) as period_end_ms, ledger.milliseconds(h.recorded_at) as hinted_at_ms
from (
    select distinct on (k.stripe_customer) k.customer, k.stripe_customer
    from (
        select n.customer, ledger.stripe_customer_of(n.customer) as stripe_customer
        from (
            select m.customer from ledger.customer_mapping m
            union
            select s.customer from ledger.subject s where starts_with(s.customer, 'cus_')
        ) n
        union all
        -- What was sent before a customer was mapped to another Stripe customer is billed to the one before.
        select coalesce(m.customer, l.stripe_customer), l.stripe_customer
        from ledger.lane l left join ledger.customer_mapping m on m.stripe_customer = l.stripe_customer
    ) k
    order by k.stripe_customer, k.customer
) c
left join ops.invoice_read r on r.stripe_customer = c.stripe_customer
left join draft d on d.stripe_customer = c.stripe_customer
left join ending n on n.stripe_customer = c.stripe_customer
left join hinted h on h.stripe_customer = c.stripe_customer
where c.stripe_customer is not null and (%(customer)s::text is null or c.customer = %(customer)s)
order by c.customer, c.stripe_customer;

-- name: store_price
-- Only a change is a new fact.
insert into ledger.stripe_price (price_id, currency, stripe_meter_id, stripe_event_name, body, body_sha256, recorded_at)
select %(price_id)s, %(currency)s, %(stripe_meter_id)s, %(stripe_event_name)s, %(body)s::jsonb, %(body_sha256)s, ops.now()
where %(body_sha256)s is distinct from (
    select p.body_sha256 from ledger.stripe_price p where p.price_id = %(price_id)s order by p.price_record_id desc limit 1
);

-- name: prices
select distinct on (p.price_id) p.price_id, p.currency, p.stripe_meter_id, p.stripe_event_name, p.body
from ledger.stripe_price p
where %(price_ids)s::text[] is null or p.price_id = any (%(price_ids)s)
order by p.price_id, p.price_record_id desc;

-- name: told_prices
-- Prices that a customer's items had, and their currencies: one that was swapped is on no line any more.
select distinct p.price_id, p.currency from ledger.billing_period p where p.stripe_customer = %(stripe_customer)s;

-- name: lock_customer
-- Two readings of one customer at once would each find the other's snapshot missing.
select pg_advisory_xact_lock(hashtextextended('invoices:' || %(stripe_customer)s, 0));

-- name: newest_content
select i.content_sha256, i.read_at from derived.invoice i where i.invoice_id = %(invoice_id)s;

-- name: store_snapshot
insert into ledger.invoice_snapshot (
    invoice_id, status, number, stripe_customer, subscription_id, billing_reason, currency, subtotal_minor, total_minor, created_at,
    automatically_finalizes_at, finalized_at, body, content_sha256, read_at, recorded_at
)
values (
    %(invoice_id)s, %(status)s, %(number)s, %(stripe_customer)s, %(subscription_id)s, %(billing_reason)s, %(currency)s,
    %(subtotal_minor)s, %(total_minor)s, %(created_at)s, %(automatically_finalizes_at)s, %(finalized_at)s, %(body)s::jsonb,
    %(content_sha256)s, %(read_at)s, ops.now()
)
returning snapshot_id;

-- name: store_line
insert into ledger.invoice_line (
    snapshot_id, position, line_id, invoice_id, subscription_item_id, subscription_id, price_id, stripe_event_name, period_start, period_end,
    quantity_decimal, amount_minor, discount_minor, tax_minor, credits_applied_minor, currency, unit_amount_decimal, tier,
    amount_mirror_minor, why_not_mirrored, body
)
values (
    %(snapshot_id)s, %(position)s, %(line_id)s, %(invoice_id)s, %(subscription_item_id)s, %(subscription_id)s, %(price_id)s,
    %(stripe_event_name)s, %(period_start)s, %(period_end)s, %(quantity_decimal)s, %(amount_minor)s, %(discount_minor)s, %(tax_minor)s,
    %(credits_applied_minor)s, %(currency)s, %(unit_amount_decimal)s, %(tier)s, %(amount_mirror_minor)s, %(why_not_mirrored)s,
    %(body)s::jsonb
);

-- name: read_since
select from ops.invoice_read r where r.stripe_customer = %(stripe_customer)s and r.read_at > %(read_at)s;

-- name: store_read
insert into ops.invoice_read as r (stripe_customer, read_at) values (%(stripe_customer)s, %(read_at)s)
on conflict (stripe_customer) do update set read_at = greatest(r.read_at, excluded.read_at);

-- name: forget_preview
delete from ops.invoice_preview_line p where p.subscription_id = %(subscription_id)s;

-- name: forget_previews
-- Of subscriptions that are no longer there.
delete from ops.invoice_preview_line p
where p.stripe_customer = %(stripe_customer)s and p.subscription_id <> all (%(subscription_ids)s::text[]);

-- name: forget_billed_lines
-- What was to come and is on an invoice by now.
delete from ops.invoice_preview_line p
using unnest(%(subscription_item_ids)s::text[], %(period_starts)s::timestamptz[], %(period_ends)s::timestamptz[])
    as b (subscription_item_id, period_start, period_end)
where p.stripe_customer = %(stripe_customer)s and p.subscription_item_id = b.subscription_item_id and p.period_start = b.period_start
    and p.period_end <= b.period_end;

-- name: store_preview_line
insert into ops.invoice_preview_line (
    subscription_id, position, stripe_customer, line_id, subscription_item_id, price_id, stripe_event_name, period_start, period_end,
    quantity_decimal, amount_minor, discount_minor, tax_minor, credits_applied_minor, currency, unit_amount_decimal, tier,
    amount_mirror_minor, why_not_mirrored, read_at
)
values (
    %(subscription_id)s, %(position)s, %(stripe_customer)s, %(line_id)s, %(subscription_item_id)s, %(price_id)s, %(stripe_event_name)s,
    %(period_start)s, %(period_end)s, %(quantity_decimal)s, %(amount_minor)s, %(discount_minor)s, %(tax_minor)s,
    %(credits_applied_minor)s, %(currency)s, %(unit_amount_decimal)s, %(tier)s, %(amount_mirror_minor)s, %(why_not_mirrored)s, %(read_at)s
);

-- name: to_post
-- Items on finalized invoices of which nothing is posted yet, or of whose period Stripe acknowledged more since.
select
    b.invoice_id, b.snapshot_id, b.subscription_item_id, b.price_id, b.stripe_customer, b.stripe_event_name, b.lane_id, b.scale,
    b.period_start, b.period_end, b.quantity_decimal, b.currency, b.postings::int, b.quantity_invoiced, b.quantity_missed, b.missed_by
from derived.billed_item b
where b.billed and (%(invoice_id)s::text is null or b.invoice_id = %(invoice_id)s)
    and (%(subscription_item_id)s::text is null or b.subscription_item_id = %(subscription_item_id)s)
    and (%(period_start)s::timestamptz is null or b.period_start = %(period_start)s)
    and (
        b.postings = 0
        -- Of each item ever billed: without a call of a function.
        or b.missed_by is null and exists (
            select from derived.acknowledged_intent a
            where a.lane_id = b.lane_id and a.stripe_timestamp >= b.period_start and a.stripe_timestamp < b.period_end
        )
        or b.missed_by is not null
            and derived.stands_acknowledged(b.lane_id, b.stripe_customer, b.stripe_event_name, b.missed_by, b.period_start, b.period_end)
    )
order by b.finalized_at, b.invoice_id, b.subscription_item_id, b.period_start;

-- name: lock_lane
-- No answer is posted to the lane while its usage is divided.
select s.lane_id from ops.lane_state s where s.lane_id = %(lane_id)s for update;

-- name: holdings
-- Nothing is missed that another subscription can still bill.
select
    a.intent_id, a.quantity, a.events, a.acknowledged_at,
    exists (select from derived.reported_intent r where r.intent_id = a.intent_id) as refused
from derived.acknowledged_intent a
where a.lane_id = %(lane_id)s and a.stripe_timestamp >= %(period_start)s and a.stripe_timestamp < %(period_end)s
    and not (select derived.billed_elsewhere(%(stripe_customer)s, %(stripe_event_name)s, %(missed_by)s)) @> a.stripe_timestamp
order by a.intent_id;

-- name: insert_posting
insert into ledger.invoice_posting (
    cause_key, invoice_id, snapshot_id, subscription_item_id, price_id, lane_id, period_start, period_end, quantity_billed,
    quantity_acknowledged, quantity_invoiced, quantity_missed, amount_missed_minor, currency, batch_id, recorded_at
)
values (
    %(cause_key)s, %(invoice_id)s, %(snapshot_id)s, %(subscription_item_id)s, %(price_id)s, %(lane_id)s, %(period_start)s, %(period_end)s,
    %(quantity_billed)s, %(quantity_acknowledged)s, %(quantity_invoiced)s, %(quantity_missed)s, %(amount_missed_minor)s, %(currency)s,
    %(batch_id)s, ops.now()
)
on conflict (cause_key) do nothing
returning invoice_posting_id;

-- name: allocate
-- Each intent's part goes on; a part that moves neither quantity nor events is no posting.
with given as (
    select * from unnest(
        %(intent_ids)s::bigint[], %(invoiced)s::bigint[], %(events_invoiced)s::bigint[], %(missed)s::bigint[], %(events_missed)s::bigint[],
        %(amounts)s::bigint[]
    ) as g (intent_id, quantity_invoiced, events_invoiced, quantity_missed, events_missed, amount_missed_minor)
), posted as (
    insert into ledger.posting (
        batch_id, subject_id, segment_start, segment_end, from_account, to_account, quantity, events,
        oldest_event_time, newest_event_time, intent_id
    )
    select
        %(batch_id)s, a.subject_id, a.segment_start, a.segment_end, 4, t.to_account,
        case t.to_account when 5 then g.quantity_invoiced else g.quantity_missed end,
        case t.to_account when 5 then g.events_invoiced else g.events_missed end,
        a.oldest_event_time, a.newest_event_time, a.intent_id
    from given g
    join derived.acknowledged_intent a on a.intent_id = g.intent_id
    cross join (values (5::smallint), (6::smallint)) as t (to_account)
    where (t.to_account = 5 and (g.quantity_invoiced <> 0 or g.events_invoiced <> 0))
        or (t.to_account = 6 and (g.quantity_missed <> 0 or g.events_missed <> 0))
)
insert into ledger.invoice_allocation (
    invoice_posting_id, intent_id, quantity_invoiced, events_invoiced, quantity_missed, events_missed, amount_missed_minor
)
select %(invoice_posting_id)s, g.intent_id, g.quantity_invoiced, g.events_invoiced, g.quantity_missed, g.events_missed, g.amount_missed_minor
from given g;

-- name: held_lines
-- Each usage line of the customer's invoices and previews, with what Stripe acknowledged of its whole item and period.
with line as (
    select
        i.invoice_id as source, l.position, l.subscription_item_id, l.price_id, l.currency, i.stripe_customer, l.stripe_event_name,
        l.period_start, l.period_end, l.quantity_decimal
    from derived.invoice i
    join ledger.invoice_line l on l.snapshot_id = i.snapshot_id
    where i.stripe_customer = %(stripe_customer)s and i.status <> 'deleted'
    union all
    select
        'preview:' || p.subscription_id, p.position, p.subscription_item_id, p.price_id, p.currency, p.stripe_customer, p.stripe_event_name,
        p.period_start, p.period_end, p.quantity_decimal
    from ops.invoice_preview_line p
    where p.stripe_customer = %(stripe_customer)s
)
select
    l.source, l.position, l.subscription_item_id, l.price_id, l.currency, l.stripe_customer, l.stripe_event_name, l.period_start,
    l.period_end, coalesce(m.scale, 0) as scale, coalesce(l.quantity_decimal, 0) as quantity_stripe,
    coalesce(a.quantity, 0) as quantity_acknowledged
from line l
left join lateral (
    select e.meter from ledger.meter_event_name e where e.stripe_event_name = l.stripe_event_name order by e.version desc limit 1
) e on true
left join derived.meter m on m.meter = e.meter
left join lateral (
    select sum(p.quantity) as quantity
    from ledger.lane n
    join ledger.intent i on i.lane_id = n.lane_id and i.stripe_timestamp >= l.period_start and i.stripe_timestamp < l.period_end
    join ledger.posting p
        on p.subject_id = i.subject_id and p.segment_start = i.segment_start and p.intent_id = i.intent_id
        and p.from_account = 3 and p.to_account = 4
    where n.stripe_customer = l.stripe_customer and n.stripe_event_name = l.stripe_event_name
) a on true
where l.stripe_event_name is not null and l.subscription_item_id is not null and l.price_id is not null
order by l.source, l.position;

-- name: store_expected
insert into ops.expected_line (source, position, quantity_ledger, amount_expected_minor, computed_at)
select g.source, g.position, g.quantity_ledger, g.amount_expected_minor, ops.now()
from unnest(%(sources)s::text[], %(positions)s::integer[], %(quantities)s::numeric[], %(amounts)s::bigint[])
    as g (source, position, quantity_ledger, amount_expected_minor)
on conflict (source, position) do update
set quantity_ledger = excluded.quantity_ledger, amount_expected_minor = excluded.amount_expected_minor, computed_at = excluded.computed_at;

-- name: store_marginal
insert into ops.marginal_price (
    subscription_item_id, period_start, period_end, stripe_customer, stripe_event_name, currency, unit_amount_decimal, read_at
)
values (
    %(subscription_item_id)s, %(period_start)s, %(period_end)s, %(stripe_customer)s, %(stripe_event_name)s, %(currency)s,
    %(unit_amount_decimal)s, ops.now()
)
on conflict (subscription_item_id, stripe_event_name, period_start) do update
set period_end = excluded.period_end, stripe_customer = excluded.stripe_customer, currency = excluded.currency,
    unit_amount_decimal = excluded.unit_amount_decimal, read_at = excluded.read_at;

-- name: period_months
-- Month by month, what was used of each period with a price: recorded in the month, or billed in it without any usage.
with month as (
    select u.subscription_item_id, u.period_start, u.month, s.meter, u.currency, u.price_id, s.scale, u.used, u.taken_back
    from derived.usage_month u
    join derived.subject s on s.subject_id = u.subject_id
    where u.price_id is not null and (u.used <> 0 or u.taken_back <> 0)
), billed as (
    select distinct on (p.subscription_item_id, p.period_start)
        p.subscription_item_id, p.period_start, date_trunc('month', p.recorded_at at time zone 'UTC')::date as month, b.meter, p.currency,
        p.price_id, b.scale
    from ledger.invoice_posting p
    join derived.billed_item b
        on b.invoice_id = p.invoice_id and b.subscription_item_id = p.subscription_item_id and b.period_start = p.period_start
    order by p.subscription_item_id, p.period_start, p.invoice_posting_id
)
select m.subscription_item_id, m.period_start, m.month, m.meter, m.currency, m.price_id, m.scale, m.used, m.taken_back
from month m
union all
select b.subscription_item_id, b.period_start, b.month, b.meter, b.currency, b.price_id, b.scale, 0, 0
from billed b
where not exists (select from month m where m.subscription_item_id = b.subscription_item_id and m.period_start = b.period_start)
order by 1, 2, 3, 4;

-- name: store_worth
insert into ops.period_worth (
    subscription_item_id, period_start, month, meter, currency, quantity_used, quantity_taken_back, used_minor, taken_back_minor, computed_at
)
values (
    %(subscription_item_id)s, %(period_start)s, %(month)s, %(meter)s, %(currency)s, %(used)s, %(taken_back)s, %(used_minor)s,
    %(taken_back_minor)s, ops.now()
)
on conflict (subscription_item_id, period_start, month) do update
set meter = excluded.meter, currency = excluded.currency, quantity_used = excluded.quantity_used,
    quantity_taken_back = excluded.quantity_taken_back, used_minor = excluded.used_minor, taken_back_minor = excluded.taken_back_minor,
    computed_at = excluded.computed_at;

-- name: forget_worth
-- Worked out anew as a whole: a period that was cut short may have given usage to its successor.
delete from ops.period_worth;

-- name: lines
-- The finance view, as the command shows it.
select l.*
from finance.invoice_lines l
where l.customer_id = %(customer)s and (%(preview)s::boolean is null or (l.status = 'preview') = %(preview)s)
order by l.period_start, l.invoice_id, l.subscription_item_id, l.tier, l.line_id;

-- name: at_risk
-- What is not billed, by what keeps it off: how many rows, and what they are worth where a price is known.
select u.state, u.currency, count(*), sum(u.amount_at_risk_minor) filter (where u.currency is not null)
from finance.unbilled_usage u
group by u.state, u.currency
order by u.state, u.currency;
