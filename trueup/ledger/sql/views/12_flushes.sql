-- Hours of a customer that a flush has to see at Stripe: no reading has shown them to be equal since their last answer. Also under Stripe
-- customers that were its before. What an invoice took up was compared by its close, and so was what lies in a period that is over with;
-- what lies behind Stripe's reach changes no more. What is left of such an hour begins and ends in the minutes of its usage that is not
-- over with. It is lasting where Stripe was read when it must have counted all of it: only a person can say what became of that.
create function derived.unshown_hours(customer text)
returns table (lane_id bigint, hour_start timestamptz, from_minute timestamptz, to_minute timestamptz, lasting boolean)
language sql stable security definer set search_path = pg_catalog as $$
with lane as materialized (
    select distinct i.lane_id
    from ledger.subject s
    join ledger.intent i on i.subject_id = s.subject_id
    where s.customer = unshown_hours.customer
), period as materialized (
    select l.lane_id, p.period_start, p.period_end, p.status in ('invoiced', 'settled', 'not_provable') as over
    from lane l
    join ledger.lane n on n.lane_id = l.lane_id
    join derived.period p on p.stripe_customer = n.stripe_customer and p.stripe_event_name = n.stripe_event_name
), answered as (
    select
        i.lane_id, date_trunc('hour', i.stripe_timestamp, 'UTC') as hour_start, max(o.recorded_at) as answered_at,
        sum(i.quantity) filter (where o.class in ('ack', 'ack_duplicate') or o.class = 'settled' and o.may_have_arrived) as acknowledged,
        min(i.stripe_timestamp) filter (where w.awaited) as first_at, max(i.stripe_timestamp) filter (where w.awaited) as last_at
    from ledger.subject s
    join ledger.intent i on i.subject_id = s.subject_id
    join ledger.outcome o on o.intent_id = i.intent_id and o.final and o.class in ('ack', 'ack_duplicate', 'settled')
    cross join lateral (
        select not exists (select from ledger.invoice_allocation a where a.intent_id = i.intent_id) and coalesce((
            -- Of two subscriptions that count the same usage one may go on.
            select not bool_and(p.over) from period p
            where p.lane_id = i.lane_id and p.period_start <= i.stripe_timestamp and p.period_end > i.stripe_timestamp
        ), true) as awaited
    ) w
    where s.customer = unshown_hours.customer
        and i.stripe_timestamp >= date_trunc('hour', ops.now() - interval '35 days', 'UTC')
    group by i.lane_id, date_trunc('hour', i.stripe_timestamp, 'UTC')
)
select
    a.lane_id, a.hour_start, date_trunc('minute', a.first_at, 'UTC'), date_trunc('minute', a.last_at, 'UTC') + interval '1 minute',
    coalesce(r.quantity <> a.acknowledged and r.read_at >= a.answered_at + d.summary_settle_seconds * interval '1 s', false)
    and not exists (select from ops.open_intent x where x.lane_id = a.lane_id and x.hour_start = a.hour_start)
from answered a
join derived.lane d on d.lane_id = a.lane_id
left join ops.stripe_summary r on r.lane_id = a.lane_id and r.hour_start = a.hour_start
where a.first_at is not null and a.acknowledged is not null and (r.quantity is distinct from a.acknowledged or r.read_at < a.answered_at)
$$;
