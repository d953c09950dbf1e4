-- name: one_picture
-- All statements of one answer see the same ledger.
set transaction isolation level repeatable read, read only;

-- name: version
select v.version_num from derived.schema_version v;

-- name: meters_of
-- Which meters ever counted usage of a customer.
select m.meter from derived.customer_subject m where m.customer = %(customer)s order by m.meter;

-- name: stripe_customers_of
select c.stripe_customer from derived.customer_at_stripe c where c.customer = %(customer)s order by c.stripe_customer;

-- name: periods
-- The billing periods of a customer's subscription items, oldest first.
select
    p.subscription_item_id, p.subscription_id, p.stripe_customer, p.stripe_event_name, p.meter, p.price_id, p.currency,
    floor(extract(epoch from p.period_start) * 1000)::bigint as start_ms, floor(extract(epoch from p.period_end) * 1000)::bigint as end_ms,
    p.repriced, floor(extract(epoch from p.removed_at) * 1000)::bigint as removed_ms
from derived.customer_period p
where p.customer = %(customer)s
order by p.period_start, p.period_end, p.subscription_item_id;

-- name: units
select m.meter, m.unit, m.scale from derived.meter m;

-- name: holdings
-- What stands in each account, by the stretch of the period that the usage falls into. A posting's window begins at most an hour early.
select
    l.meter, l.stripe_customer, l.stripe_event_name, l.account_id::integer as account,
    width_bucket(l.used_at, %(bounds)s::timestamptz[]) as stretch, sum(l.quantity) as quantity
from derived.customer_leg l
where l.customer = %(customer)s and l.account_id <> 1
    and l.segment_start >= %(start)s::timestamptz - interval '1 hour' and l.segment_start < %(end)s::timestamptz
    and l.used_at >= %(start)s and l.used_at < %(end)s
group by 1, 2, 3, 4, 5
having sum(l.quantity) <> 0
order by 1, 4, 5, 2, 3;

-- name: corrections
-- Usage that takes back, as far as it was counted.
select e.meter, sum(e.billable_quantity)
from derived.customer_event e
join derived.customer_subject s on s.subject_id = e.subject_id
where s.customer = %(customer)s and e.quantity < 0 and e.to_account = 2
    and e.event_time >= %(start)s and e.event_time < %(end)s
group by 1;

-- name: prices
select p.price_id, p.currency, p.stripe_meter_id, p.stripe_event_name, p.body from derived.price p where p.price_id = any (%(price_ids)s);

-- name: final_lines
-- What final invoices bill of these items.
select
    l.invoice_id, l.number, l.subscription_item_id, l.price_id, l.currency,
    floor(extract(epoch from l.period_start) * 1000)::bigint as start_ms, floor(extract(epoch from l.period_end) * 1000)::bigint as end_ms,
    coalesce(l.quantity_decimal, 0) as quantity, l.unit_amount_decimal, l.tier, l.amount_minor
from derived.final_invoice_line l
where l.stripe_customer = any (%(stripe_customers)s) and l.subscription_item_id = any (%(items)s)
    and l.period_start >= %(start)s and l.period_end <= %(end)s
order by l.invoice_id, l.position;

-- name: progress
-- How far each partition of the source topic is in the ledger.
select n.partition, s.next_offset, floor(extract(epoch from s.last_arrival) * 1000)::bigint as last_arrival_ms
from generate_series(0, %(partitions)s - 1) as n (partition)
left join lateral (
    select p.next_offset, p.last_arrival
    from derived.source_progress p
    where p.source_partition = n.partition
    order by p.first_offset desc
    limit 1
) s on true
order by n.partition;

-- name: batches
-- The next batches that brought usage of the customer's period. A posting's window begins at most an hour before its newest event.
select distinct b.batch_id
from derived.customer_batch b
where b.customer = %(customer)s and (%(meter)s::text is null or b.meter = %(meter)s) and b.batch_id >= %(first_batch)s
    and b.segment_start >= %(start)s::timestamptz - interval '1 hour' and b.segment_start < %(end)s::timestamptz
order by b.batch_id
limit %(most)s;

-- name: events
-- Events of these batches, in the order in which the ledger got them: a place in it never moves.
select
    e.batch_id, e.source_offset, e.source, e.id, e.meter, floor(extract(epoch from e.event_time) * 1000)::bigint as event_time_ms,
    floor(extract(epoch from e.arrival) * 1000)::bigint as arrival_ms, e.quantity, e.billable_quantity, e.to_account <> 8 as counted, e.late,
    e.reason, e.corrects, coalesce(e.dimensions, '{}'::jsonb) as dimensions
from derived.customer_event e
where e.batch_id = any (%(batches)s)
    and e.subject_id in (
        select s.subject_id
        from derived.customer_subject s
        where s.customer = %(customer)s and (%(meter)s::text is null or s.meter = %(meter)s)
    )
    and e.event_time >= %(start)s and e.event_time < %(end)s
    and (e.batch_id, e.source_offset) > (%(after_batch)s, %(after_offset)s)
order by e.batch_id, e.source_offset
limit %(limit)s;

-- name: events_to_read
-- How much reading a division by dimension would be.
select coalesce(sum(b.events), 0)::bigint, count(distinct b.batch_id)
from derived.customer_batch b
where b.customer = %(customer)s and b.segment_start >= %(start)s::timestamptz - interval '1 hour' and b.segment_start < %(end)s::timestamptz;

-- name: by_dimension
-- What each value of a dimension used, of what was counted; null where an event does not say.
select e.meter, e.dimensions ->> %(dimension)s as value, sum(e.billable_quantity)
from derived.customer_event e
where e.batch_id in (
        select b.batch_id
        from derived.customer_batch b
        where b.customer = %(customer)s
            and b.segment_start >= %(start)s::timestamptz - interval '1 hour' and b.segment_start < %(end)s::timestamptz
    )
    and e.subject_id in (select s.subject_id from derived.customer_subject s where s.customer = %(customer)s)
    and e.event_time >= %(start)s and e.event_time < %(end)s and e.to_account = 2
group by 1, 2
order by 1, 3 desc, 2;
