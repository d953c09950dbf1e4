-- What the usage view is made of. Its role sees no table: it reads these views, each of which is asked for one customer.

create view derived.schema_version as
select v.version_num from ops.alembic_version v;

-- Keys that open something. Their hashes are for the rooms with doors; finance has no use for them.
create view derived.live_api_key as
select
    k.key_id, k.holder, k.key_sha256, k.scopes, k.sources, k.reason, k.created_by, (extract(epoch from k.recorded_at) * 1000)::bigint as recorded_at_ms
from ledger.api_key k
where not exists (select from ledger.api_key_revocation r where r.key_id = k.key_id);

-- Every Stripe customer that a customer is or was; an id of Stripe's that nobody was given stands for itself.
create view derived.customer_at_stripe as
select m.customer, m.stripe_customer from ledger.customer_mapping m
union all
select distinct s.customer, s.customer
from ledger.subject s
where starts_with(s.customer, 'cus_') and not exists (select from ledger.customer_mapping m where m.stripe_customer = s.customer);

create view derived.customer_subject as
select s.subject_id, s.customer, s.meter from ledger.subject s;

-- The billing periods of a customer's subscription items, each with the meter it counts, whether another price was ever told for it, and
-- since when its subscription is without the item: the newest notification that lists items does not have it any more.
create view derived.customer_period as
select
    c.customer, p.subscription_item_id, p.subscription_id, p.stripe_customer, p.price_id, p.stripe_event_name, p.currency, p.period_start,
    p.period_end, p.status, coalesce(e.meter, p.stripe_event_name) as meter,
    exists (
        select from ledger.billing_period t
        where t.subscription_item_id = p.subscription_item_id and t.period_start = p.period_start and t.price_id <> p.price_id
    ) as repriced,
    (
        select min(t.created)
        from ledger.stripe_event t
        where t.object_id = p.subscription_id and t.type = 'customer.subscription.updated'
            and t.created >= p.period_start and t.created < p.period_end
            and jsonb_typeof(t.body #> '{data,object,items,data}') = 'array'
            and not coalesce((t.body #>> '{data,object,items,has_more}')::boolean, false)
            and not exists (
                select from ledger.stripe_event n
                where n.object_id = t.object_id and n.created >= t.created
                    and n.body #> '{data,object,items,data}' @> jsonb_build_array(jsonb_build_object('id', p.subscription_item_id))
            )
    ) as removed_at
from derived.customer_at_stripe c
join derived.period p on p.stripe_customer = c.stripe_customer
left join lateral (
    select n.meter from ledger.meter_event_name n where n.stripe_event_name = p.stripe_event_name order by n.version desc limit 1
) e on true;

-- Where a customer's usage went, with the Stripe meter it was sent under and the second it was sent for; what was not sent has neither.
create view derived.customer_leg as
select
    s.customer,
    s.meter,
    p.segment_start,
    -- What Stripe received and refused by a report afterwards is on no bill to come.
    case when l.account_id = 4 and p.intent_id in (select r.intent_id from derived.reported_intent r) then 7 else l.account_id end as account_id,
    l.quantity,
    l.events,
    case when l.account_id between 3 and 7 then n.stripe_customer end as stripe_customer,
    case when l.account_id between 3 and 7 then n.stripe_event_name when l.account_id = 2 then u.stripe_event_name end as stripe_event_name,
    case when l.account_id between 3 and 7 then coalesce(i.stripe_timestamp, p.segment_start) else p.segment_start end as used_at
from ledger.subject s
join ledger.posting p on p.subject_id = s.subject_id
cross join lateral (values (p.to_account, p.quantity, p.events), (p.from_account, -p.quantity, -p.events)) as l (account_id, quantity, events)
left join ledger.intent i on i.intent_id = p.intent_id
left join ledger.lane n on n.lane_id = i.lane_id
left join ops.uncovered_segment u on u.subject_id = p.subject_id and u.segment_start = p.segment_start;

-- Which batches brought a customer usage: events are found by batch, which costs no index of their own.
create view derived.customer_batch as
select s.customer, s.meter, s.subject_id, p.segment_start, p.batch_id, p.events
from ledger.subject s
join ledger.posting p on p.subject_id = s.subject_id
where p.from_account = 1;

-- An event, and whether it was counted at once (2), kept for a person (8) or waived (10), as all of a customer is who is never billed.
create view derived.customer_event as
select
    e.customer, e.meter, e.subject_id, e.batch_id, e.source_partition, e.source_offset, e.source, e.id, e.event_time, e.arrival, e.quantity,
    e.billable_quantity, e.late, e.reason, e.corrects, e.dimensions,
    case when f.to_account = 2 and n.customer is not null then 10 else f.to_account end as to_account
from ledger.event e
left join ledger.diverted_event d on d.identity = e.identity
left join ledger.never_billed_customer n on n.customer = e.customer
cross join lateral (select coalesce(d.to_account::integer, case when e.late then 8 else 2 end) as to_account) f;

create view derived.price as
select p.price_id, p.currency, p.stripe_meter_id, p.stripe_event_name, p.body
from ledger.stripe_price p
where not exists (select from ledger.stripe_price n where n.price_id = p.price_id and n.price_record_id > p.price_record_id);

-- The usage lines of final invoices that stand.
create view derived.final_invoice_line as
select
    s.invoice_id, s.number, s.status, s.finalized_at, s.stripe_customer, l.position, l.subscription_item_id, l.price_id, l.stripe_event_name,
    l.period_start, l.period_end, l.quantity_decimal, l.amount_minor, l.currency, l.unit_amount_decimal, l.tier
from ledger.invoice_snapshot s
join ledger.invoice_line l on l.snapshot_id = s.snapshot_id
where s.finalized_at is not null and s.status in ('open', 'paid', 'uncollectible') and l.stripe_event_name is not null
    and not exists (select from ledger.invoice_snapshot n where n.invoice_id = s.invoice_id and n.snapshot_id > s.snapshot_id);

-- A new ledger that holds nothing of a partition yet has all that it can ever hold from before where it began.
create view derived.source_progress as
select s.source_partition, s.first_offset, s.next_offset, s.last_arrival from ledger.source_batch s
union all
-- Of the very same types: only then is the newest row of a partition found by its index.
select o.partition, -1::bigint, max(o.source_offset), null::timestamptz from ops.source_offset o where o.source_offset is not null group by o.partition;
