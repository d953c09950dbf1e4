-- name: lanes
-- What is read at Stripe, of one customer or of all.
select l.lane_id, l.customer, l.meter, l.stripe_customer, l.stripe_event_name, l.scale, l.roll_up_seconds, l.summary_settle_seconds,
    ledger.milliseconds(r.read_at) as read_at_ms
from derived.lane l
left join ops.stripe_lane_read r on r.lane_id = l.lane_id
where %(customer)s::text is null or l.customer = %(customer)s
order by l.lane_id;

-- name: open_hours
-- Hours whose last reading does not settle them: never read, read before the last answer could be counted, or different.
select h.lane_id, ledger.milliseconds(h.hour_start) as hour_start_ms, ledger.milliseconds(h.touched_at) as touched_at_ms,
    ledger.milliseconds(h.read_at) as read_at_ms, h.explanation <> 'agrees' as differs
from derived.lane_hour_explained h
where h.attempts > 0 and (not h.settled or h.explanation <> 'agrees');

-- name: store_hours
-- What one reading of a lane gave for [from, to). An hour that the ledger or an earlier reading knows and Stripe had no row for is 0.
with given as (
    select * from unnest(%(hours_ms)s::bigint[], %(values)s::text[], %(quantities)s::numeric[], %(exact)s::boolean[])
        as g (hour_ms, value_text, quantity, exact)
), expected as (
    select s.hour_start from ops.stripe_summary s
    where s.lane_id = %(lane_id)s and s.hour_start >= %(from)s and s.hour_start < %(to)s
    union
    select date_trunc('hour', i.stripe_timestamp, 'UTC') from ledger.intent i
    where i.lane_id = %(lane_id)s and i.stripe_timestamp >= %(from)s and i.stripe_timestamp < %(to)s
    union
    select date_trunc('hour', p.segment_start, 'UTC')
    from derived.lane l
    join ledger.subject j on j.customer = l.customer and j.meter = l.meter
    join ledger.posting p on p.subject_id = j.subject_id and p.segment_start >= %(from)s and p.segment_start < %(to)s
    where l.lane_id = %(lane_id)s
), read as (
    select to_timestamp(g.hour_ms / 1000) as hour_start, g.value_text, g.quantity, g.exact from given g
    union all
    select e.hour_start, '0', 0, true from expected e
    where not exists (select from given g where to_timestamp(g.hour_ms / 1000) = e.hour_start)
)
insert into ops.stripe_summary as s (lane_id, hour_start, value_text, quantity, exact, read_at)
select %(lane_id)s, r.hour_start, r.value_text, r.quantity, r.exact, %(read_at)s
from read r
on conflict (lane_id, hour_start) do update
set value_text = excluded.value_text, quantity = excluded.quantity, exact = excluded.exact, read_at = excluded.read_at,
    previous_quantity = s.quantity, previous_read_at = s.read_at
where s.read_at <= excluded.read_at;

-- name: store_lane_read
insert into ops.stripe_lane_read as l (lane_id, read_at) values (%(lane_id)s, %(read_at)s)
on conflict (lane_id) do update set read_at = greatest(l.read_at, excluded.read_at);

-- name: silent_pairs
-- Customers and meters that nothing was ever sent for, of one customer or of all; of those, what was not read since an instant, nor since
-- the mapping and the catalogue that make them: the proof waits for that, and not as long as a sweep may take.
select p.stripe_customer, p.stripe_event_name, p.scale, p.roll_up_seconds
from derived.silent_pair p
where (%(customer)s::text is null or p.customer = %(customer)s) and (%(since)s::timestamptz is null or p.read_at is null or p.read_at < greatest(p.since, %(since)s))
order by p.stripe_customer, p.stripe_event_name;

-- name: make_lane
-- Somebody sent for a pair that we never sent for: from now on it is read as every lane is.
with made as (
    insert into ledger.lane (stripe_customer, stripe_event_name)
    select %(stripe_customer)s, %(stripe_event_name)s
    where not exists (
        select from ledger.lane l where l.stripe_customer = %(stripe_customer)s and l.stripe_event_name = %(stripe_event_name)s
    )
    on conflict (stripe_customer, stripe_event_name) do nothing
    returning lane_id
)
insert into ops.lane_state (lane_id) select m.lane_id from made m on conflict (lane_id) do nothing;

-- name: lane_of
select l.lane_id from ledger.lane l where l.stripe_customer = %(stripe_customer)s and l.stripe_event_name = %(stripe_event_name)s;

-- name: store_pair_read
insert into ops.stripe_pair_read as r (stripe_customer, stripe_event_name, read_at)
values (%(stripe_customer)s, %(stripe_event_name)s, %(read_at)s)
on conflict (stripe_customer, stripe_event_name) do update set read_at = greatest(r.read_at, excluded.read_at);

-- name: customers
-- Customers with a Stripe customer, and when their subscriptions were last read.
select c.customer, c.stripe_customer, ledger.milliseconds(r.read_at) as read_at_ms, r.subscriptions
from (
    select k.customer, ledger.stripe_customer_of(k.customer) as stripe_customer
    from (
        select m.customer from ledger.customer_mapping m
        union
        select s.customer from ledger.subject s where starts_with(s.customer, 'cus_')
    ) k
) c
left join ops.stripe_subscription_read r on r.stripe_customer = c.stripe_customer
where c.stripe_customer is not null and (%(customer)s::text is null or c.customer = %(customer)s)
order by c.customer;

-- name: store_subscription_read
-- Previews of subscriptions that are no longer there are forgotten.
with forgotten as (
    delete from ops.stripe_preview p
    where p.stripe_customer = %(stripe_customer)s and p.subscription_id <> all (%(subscription_ids)s::text[])
)
insert into ops.stripe_subscription_read as s (stripe_customer, subscriptions, read_at)
values (%(stripe_customer)s, cardinality(%(subscription_ids)s::text[]), %(read_at)s)
on conflict (stripe_customer) do update set subscriptions = excluded.subscriptions, read_at = greatest(s.read_at, excluded.read_at);

-- name: store_preview
-- All lines of a subscription's preview; a price that is no longer among them is forgotten.
with given as (
    select * from unnest(
        %(prices)s::text[], %(items)s::text[], %(event_names)s::text[], %(quantities)s::numeric[], %(starts_ms)s::bigint[], %(ends_ms)s::bigint[]
    ) as g (price_id, subscription_item_id, stripe_event_name, quantity, start_ms, end_ms)
), forgotten as (
    delete from ops.stripe_preview p
    where p.subscription_id = %(subscription_id)s and p.price_id <> all (%(prices)s::text[])
)
insert into ops.stripe_preview (
    stripe_customer, subscription_id, price_id, subscription_item_id, stripe_event_name, quantity, period_start, period_end, read_at
)
select
    %(stripe_customer)s, %(subscription_id)s, g.price_id, max(g.subscription_item_id), max(g.stripe_event_name), sum(g.quantity),
    to_timestamp(min(g.start_ms) / 1000), to_timestamp(max(g.end_ms) / 1000), %(read_at)s
from given g
group by g.price_id
on conflict (subscription_id, price_id) do update
set stripe_customer = excluded.stripe_customer, subscription_item_id = excluded.subscription_item_id,
    stripe_event_name = excluded.stripe_event_name, quantity = excluded.quantity, period_start = excluded.period_start,
    period_end = excluded.period_end, read_at = excluded.read_at;

-- name: previews
select p.stripe_customer, p.subscription_id, p.price_id, p.stripe_event_name, p.quantity, ledger.milliseconds(p.read_at) as read_at_ms
from ops.stripe_preview p
order by p.stripe_customer, p.subscription_id, p.price_id;

-- name: newest_catalogue
select v.content_toml from ledger.catalogue_version v order by v.version desc limit 1;

-- name: set_round
insert into ops.reconciliation as r (read_age_seconds, last_round_at, last_success_at)
values (%(read_age_seconds)s, %(last_round_at)s, %(last_success_at)s)
on conflict (only_row) do update
set read_age_seconds = excluded.read_age_seconds,
    last_round_at = coalesce(excluded.last_round_at, r.last_round_at),
    last_success_at = coalesce(excluded.last_success_at, r.last_success_at);

-- name: last_round
select ledger.milliseconds(r.last_round_at), ledger.milliseconds(r.last_success_at) from ops.reconciliation r;

-- name: newest_outcome
-- Moves whenever something came back from Stripe.
select coalesce(max(o.outcome_id), 0) from ledger.outcome o;

-- name: rows
-- The finance view, as the command shows it.
select
    r.customer_id, r.meter, r.hour_start, r.quantity_ledger, r.quantity_acknowledged, r.quantity_in_flight, r.quantity_stripe,
    r.difference, r.explanation, r.read_at, r.settled, r.unit
from finance.stripe_reconciliation r
where (%(customer)s::text is null or r.customer_id = %(customer)s)
    and (%(from)s::timestamptz is null or r.hour_start >= %(from)s)
    and (%(to)s::timestamptz is null or r.hour_start < %(to)s)
order by r.customer_id, r.meter, r.hour_start;

-- name: differences
-- Settled differences per meter, each hour's taken without its sign: two of opposite sign are two faults. A meter that nothing was
-- compared of yet is there with 0: a figure that is missing cannot be watched.
select m.meter, coalesce(sum(abs(r.difference)) filter (where r.settled), 0)
from (select distinct v.meter from ledger.meter_version v) m
left join finance.stripe_reconciliation r on r.meter = m.meter
group by m.meter;

-- name: open_reviews
select q.kind, count(*) from finance.review_queue q where q.status = 'open' group by q.kind;
