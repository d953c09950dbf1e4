-- What the finance views and the proof are computed from. Code, made anew at each migration; nobody's contract.
drop schema if exists derived cascade;
create schema derived authorization trueup_owner;
comment on schema derived is 'What schema finance and the proof are computed from. Not a contract: read finance.';

-- A meter as its newest catalogue version has it. Unit, scale and aggregation never change.
create view derived.meter as
select distinct on (m.meter) m.meter, m.unit, m.scale::integer as scale, m.aggregation, m.roll_up_seconds, m.horizon_seconds, m.close_margin_seconds, m.billing_window_seconds, v.summary_settle_seconds
from ledger.meter_version m
join ledger.catalogue_version v on v.version = m.version
order by m.meter, m.version desc;

-- How far back usage of a meter may lie when it is sent, by the catalogue version in force at an instant. A meter that was left out
-- of the catalogue keeps what its last version said. With its owner's rights: the proof asks it for people who read views only.
create function derived.horizon_at(meter text, at timestamptz) returns interval language sql stable security definer
set search_path = pg_catalog as $$
select coalesce((
    select v.horizon_seconds
    from ledger.meter_version v join ledger.catalogue_version c on c.version = v.version
    where v.meter = horizon_at.meter and c.in_force_from <= horizon_at.at
    order by v.version desc limit 1
), 34 * 86400) * interval '1 s'
$$;

-- Which meter counts under a name of Stripe's, or did last: what was booked under a name that a later catalogue gave up stays where it is.
create view derived.meter_name as
select distinct on (n.stripe_event_name)
    n.stripe_event_name, n.meter, n.version = (select max(v.version) from ledger.meter_version v where v.meter = n.meter) as in_use
from ledger.meter_event_name n
order by n.stripe_event_name, n.version desc;

create view derived.subject as
select s.subject_id, s.customer, s.meter, coalesce(m.unit, '') as unit, coalesce(m.scale, 0) as scale
from ledger.subject s
left join derived.meter m on m.meter = s.meter;

-- Whose a lane is. Its intents know; before the first one the newest mapping and the newest catalogue that name it do.
create view derived.lane as
select
    l.lane_id,
    l.stripe_customer,
    l.stripe_event_name,
    coalesce(i.customer, c.customer, l.stripe_customer) as customer,
    coalesce(i.meter, n.meter, l.stripe_event_name) as meter,
    coalesce(m.unit, '') as unit,
    coalesce(m.scale, 0) as scale,
    coalesce(m.roll_up_seconds, 300) as roll_up_seconds,
    coalesce(m.summary_settle_seconds, 7200) as summary_settle_seconds
from ledger.lane l
left join lateral (
    select s.customer, s.meter
    from ledger.intent i
    join ledger.subject s on s.subject_id = i.subject_id
    where i.lane_id = l.lane_id
    limit 1
) i on true
left join ledger.customer_mapping c on c.stripe_customer = l.stripe_customer
left join lateral (
    select n.meter
    from ledger.meter_event_name n
    where n.stripe_event_name = l.stripe_event_name
    order by n.version desc
    limit 1
) n on true
left join derived.meter m on m.meter = coalesce(i.meter, n.meter);

-- Where each intent stands: what its postings moved, what was tried, what came back.
create view derived.intent_state as
with moved as (
    select
        p.intent_id,
        sum(case when p.to_account = 3 then p.quantity when p.from_account = 3 then -p.quantity else 0 end) as in_flight,
        -- What an invoice took up, or left out, was acknowledged all the same.
        sum(case when p.to_account = 4 then p.quantity when p.from_account = 4 and p.to_account not in (5, 6) then -p.quantity else 0 end)
            as acknowledged,
        sum(case when p.to_account = 7 then p.quantity when p.from_account = 7 then -p.quantity else 0 end) as rejected
    from ledger.posting p
    where p.intent_id is not null
    group by p.intent_id
), tried as (
    select
        a.intent_id,
        count(*) as attempts,
        min(a.started_at) as first_attempt_at,
        count(*) filter (where o.attempt_id is null or o.may_have_arrived) as attempts_that_may_have_arrived,
        min(a.started_at) filter (where o.attempt_id is null or o.may_have_arrived) as at_risk_since
    from ledger.attempt a
    left join (
        select o.attempt_id, bool_or(o.may_have_arrived) as may_have_arrived
        from ledger.outcome o
        where o.attempt_id is not null
        group by o.attempt_id
    ) o on o.attempt_id = a.attempt_id
    group by a.intent_id
), answered as (
    select distinct on (o.intent_id) o.intent_id, o.class as newest_class, o.recorded_at as newest_outcome_at, o.final
    from ledger.outcome o
    order by o.intent_id, o.final desc, o.outcome_id desc
)
select
    i.intent_id,
    i.lane_id,
    i.subject_id,
    date_trunc('hour', i.stripe_timestamp, 'UTC') as hour_start,
    i.quantity,
    i.recorded_at,
    coalesce(m.in_flight, 0) as in_flight,
    coalesce(m.acknowledged, 0) as acknowledged,
    coalesce(m.rejected, 0) as rejected,
    coalesce(t.attempts, 0) as attempts,
    t.first_attempt_at,
    coalesce(t.attempts_that_may_have_arrived, 0) as attempts_that_may_have_arrived,
    t.at_risk_since,
    a.newest_class,
    a.newest_outcome_at,
    coalesce(a.final, false) as final
from ledger.intent i
left join moved m on m.intent_id = i.intent_id
left join tried t on t.intent_id = i.intent_id
left join answered a on a.intent_id = i.intent_id;

-- Which intents Stripe says it refused after their 2xx: those that are among the samples of a report. What it calls their identifier may
-- be the one of the event or that of the request.
create view derived.reported_intent as
with sample as (
    select r.event_id, r.created, t.code, s.error_message, s.request ->> 'identifier' as identifier
    from ledger.meter_error_report r
    cross join lateral jsonb_to_recordset(r.body #> '{data,reason,error_types}') as t (code text, sample_errors jsonb)
    cross join lateral jsonb_to_recordset(t.sample_errors) as s (error_message text, request jsonb)
)
select i.intent_id, s.event_id, s.created, s.code, s.error_message
from sample s
join ledger.intent i on i.identifier = s.identifier
union
select a.intent_id, s.event_id, s.created, s.code, s.error_message
from sample s
join ledger.attempt a on a.idempotency_key = s.identifier;

-- A lane's hour beside Stripe's summary of it. What may explain a difference is kept as two sums, of what adds and of what takes back.
create view derived.lane_hour as
with intents as (
    select
        i.*,
        -- Acknowledged so shortly before the last read that the summary need not have it yet.
        i.acknowledged <> 0 and (s.read_at is null or s.read_at < i.newest_outcome_at + l.summary_settle_seconds * interval '1 second')
            as unsettled,
        i.in_flight <> 0 and i.attempts > 0 and not i.final as flying,
        i.in_flight <> 0 and i.newest_class = 'unknown' as unknown,
        case when r.intent_id is not null then i.acknowledged else 0 end as reported
    from derived.intent_state i
    left join (select distinct x.intent_id from derived.reported_intent x) r on r.intent_id = i.intent_id
    join derived.lane l on l.lane_id = i.lane_id
    left join ops.stripe_summary s on s.lane_id = i.lane_id and s.hour_start = i.hour_start
), summed as (
    select
        i.lane_id,
        i.hour_start,
        sum(i.acknowledged) as acknowledged,
        sum(i.in_flight) as in_flight,
        sum(i.rejected) as rejected,
        sum(i.attempts) as attempts,
        bool_or(i.unsettled) as unsettled,
        bool_or(i.flying) as flying,
        bool_or(i.unknown) as unknown,
        sum(case when i.flying then least(i.in_flight, 0) else 0 end) as flying_low,
        sum(case when i.flying then greatest(i.in_flight, 0) else 0 end) as flying_high,
        sum(case when i.unknown then least(i.in_flight, 0) else 0 end) as unknown_low,
        sum(case when i.unknown then greatest(i.in_flight, 0) else 0 end) as unknown_high,
        sum(case when i.unsettled then least(-i.acknowledged, 0) else 0 end) as unsettled_low,
        sum(case when i.unsettled then greatest(-i.acknowledged, 0) else 0 end) as unsettled_high,
        sum(least(-i.reported, 0)) as reported_low,
        sum(greatest(-i.reported, 0)) as reported_high,
        max(i.newest_outcome_at) filter (where i.attempts > 0) as touched_at,
        min(i.first_attempt_at) filter (where i.flying) as flying_since,
        array_agg(i.quantity) filter (where i.attempts_that_may_have_arrived > 1) as quantities_tried_twice
    from intents i
    group by i.lane_id, i.hour_start
)
select
    coalesce(h.lane_id, s.lane_id) as lane_id,
    coalesce(h.hour_start, s.hour_start) as hour_start,
    coalesce(h.acknowledged, 0) as acknowledged,
    coalesce(h.in_flight, 0) as in_flight,
    coalesce(h.rejected, 0) as rejected,
    coalesce(h.attempts, 0) as attempts,
    coalesce(h.unsettled, false) as unsettled,
    coalesce(h.flying, false) as flying,
    coalesce(h.unknown, false) as unknown,
    coalesce(h.flying_low, 0) as flying_low,
    coalesce(h.flying_high, 0) as flying_high,
    coalesce(h.unknown_low, 0) as unknown_low,
    coalesce(h.unknown_high, 0) as unknown_high,
    coalesce(h.unsettled_low, 0) as unsettled_low,
    coalesce(h.unsettled_high, 0) as unsettled_high,
    coalesce(h.reported_low, 0) as reported_low,
    coalesce(h.reported_high, 0) as reported_high,
    h.touched_at,
    h.flying_since,
    h.quantities_tried_twice,
    s.quantity as stripe,
    s.read_at,
    coalesce(s.exact, true) as exact,
    s.quantity - coalesce(h.acknowledged, 0) as difference
from summed h
full join ops.stripe_summary s on s.lane_id = h.lane_id and s.hour_start = h.hour_start;

-- Why Stripe's figure differs from what it acknowledged: one cause from the closed list. What came after its
-- period was closed is no difference: the finance view tells it apart from what agrees.
create view derived.lane_hour_explained as
with beside as (
    select
        h.*,
        not h.flying and not h.unsettled and h.read_at is not null as settled,
        coalesce(lag(h.hour_start) over lane = h.hour_start - interval '1 hour' and lag(h.difference) over lane = -h.difference, false)
        or coalesce(lead(h.hour_start) over lane = h.hour_start + interval '1 hour' and lead(h.difference) over lane = -h.difference, false)
            as mirrored_next_door
    from derived.lane_hour h
    window lane as (partition by h.lane_id order by h.hour_start)
)
select
    b.*,
    case
        when b.read_at is null and b.unknown then 'unknown_outcome'
        when b.read_at is null and b.flying then 'in_flight'
        when b.read_at is null then 'not_settled'
        when b.difference = 0 then 'agrees'
        when b.unknown and b.difference between b.unknown_low and b.unknown_high then 'unknown_outcome'
        when b.flying and b.difference between b.flying_low and b.flying_high then 'in_flight'
        when (b.unsettled or b.flying)
            and b.difference between b.flying_low + b.unsettled_low and b.flying_high + b.unsettled_high then 'not_settled'
        when b.rejected <> 0 and b.difference between least(b.rejected, 0) and greatest(b.rejected, 0) then 'rejected'
        -- Refused after its 2xx, by Stripe's own report.
        when b.difference between b.reported_low and b.reported_high then 'rejected'
        when b.mirrored_next_door then 'window_edge'
        when b.difference = any (b.quantities_tried_twice) then 'sent_twice'
        -- Each call of ours can be counted once at most, so what is beyond all of them is not ours.
        when b.difference > 0 then 'foreign_event'
        else 'unexplained'
    end as explanation
from beside b;

-- When somebody last called, or was last answered, about usage of a lane's hour.
create function derived.hour_touched_at(lane bigint, hour_start timestamptz) returns timestamptz language sql stable security definer
set search_path = pg_catalog as $$
select greatest(max(a.started_at), max(y.recorded_at))
from ledger.intent i
left join ledger.attempt a on a.intent_id = i.intent_id
left join ledger.outcome y on y.intent_id = i.intent_id
where i.lane_id = hour_touched_at.lane and i.stripe_timestamp >= hour_touched_at.hour_start
    and i.stripe_timestamp < hour_touched_at.hour_start + interval '1 hour'
$$;

-- Up to where each partition of the source topic is captured.
create view derived.source_offset as
select s.source_partition, max(s.next_offset) as next_offset
from ledger.source_batch s
group by s.source_partition;

-- Where each event's quantity was posted first: on time to unsent, late to in_review, unless the late policy or the deadline said else.
create view derived.event_destination as
select
    e.identity, e.subject_id, e.batch_id, e.segment_start, e.segment_end, e.event_time, e.billable_quantity, e.late, e.source,
    coalesce(d.to_account::integer, case when e.late then 8 else 2 end) as to_account, d.why
from ledger.event e
left join ledger.diverted_event d on d.identity = e.identity;

-- Of several facts about a billing period the newest; one that ended where it began never was.
create view derived.standing_period as
select f.*
from ledger.billing_period f
where f.period_end > f.period_start and not exists (
    select from ledger.billing_period n
    where n.subscription_item_id = f.subscription_item_id and n.period_start = f.period_start and n.period_id > f.period_id
);

-- Billing periods as they stand, and what became of each.
create view derived.period as
select
    p.period_id, p.subscription_item_id, p.subscription_id, p.stripe_customer, p.price_id, p.stripe_event_name, p.plan, p.currency,
    p.period_start, p.period_end,
    coalesce(e.status, 'open') as status, i.invoice_id, coalesce(e.why, '') as why, e.recorded_at as changed_at,
    coalesce(d.deadline, p.period_end + g.grace) as finalizes_at,
    -- The newest date that was told before it came: an invoice may be made and finalized at once, by a cancellation.
    coalesce((
        select x.deadline from ledger.period_event x
        where x.subscription_item_id = p.subscription_item_id and x.period_start = p.period_start and x.recorded_at < x.deadline
        order by x.period_event_id desc
        limit 1
    ), p.period_end + g.grace) as foretold_at,
    coalesce(d.deadline_basis, 'grace') as deadline_basis
from derived.standing_period p
cross join (
    select coalesce((
        select c.finalization_grace_seconds from ledger.catalogue_version c order by c.version desc limit 1
    ), 86400) * interval '1 s' as grace
) g
left join lateral (
    select x.status, x.why, x.recorded_at from ledger.period_event x
    where x.subscription_item_id = p.subscription_item_id and x.period_start = p.period_start
    order by x.period_event_id desc
    limit 1
) e on true
left join lateral (
    select x.invoice_id from ledger.period_event x
    where x.subscription_item_id = p.subscription_item_id and x.period_start = p.period_start and x.invoice_id is not null
    order by x.period_event_id desc
    limit 1
) i on true
left join lateral (
    select x.deadline, x.deadline_basis from ledger.period_event x
    where x.subscription_item_id = p.subscription_item_id and x.period_start = p.period_start and x.deadline is not null
    order by x.period_event_id desc
    limit 1
) d on true;
