-- Billing periods: whose they are, what of them is still open, and whether their close is provable.
create view derived.period_subject as
select
    p.*,
    coalesce(c.customer, p.stripe_customer) as customer,
    n.meter,
    coalesce(m.unit, '') as unit,
    coalesce(m.scale, 0) as scale,
    coalesce(m.summary_settle_seconds, 7200) as summary_settle_seconds,
    p.finalizes_at - coalesce(m.close_margin_seconds, 600) * interval '1 s' as deadline,
    -- The last usage that is on time for it arrives by then; a minute more, since the brokers have a clock of their own. What arrives
    -- after the invoice is final reaches it in no case.
    greatest(
        p.period_end, least(p.period_end + (coalesce(m.billing_window_seconds, 2700) + 60) * interval '1 s', p.finalizes_at)
    ) as captured_by,
    s.subject_id,
    l.lane_id,
    -- Stripe's summaries are cut at minutes: up to 59 s of the neighbours are in, on both sides of the comparison.
    date_trunc('minute', p.period_start, 'UTC') as minute_start,
    date_trunc('minute', p.period_end + interval '59.999999 s', 'UTC') as minute_end
from derived.period p
left join lateral (
    select e.meter from ledger.meter_event_name e where e.stripe_event_name = p.stripe_event_name order by e.version desc limit 1
) n on true
left join derived.meter m on m.meter = n.meter
left join ledger.customer_mapping c on c.stripe_customer = p.stripe_customer
left join ledger.subject s on s.customer = coalesce(c.customer, p.stripe_customer) and s.meter = n.meter
left join ledger.lane l on l.stripe_customer = p.stripe_customer and l.stripe_event_name = p.stripe_event_name;

-- Usage that no intent covers yet, per segment; discovered where the cutter has seen it, else of the few batches since it looked.
create view derived.unsent_segment as
with touched as (
    select u.subject_id, u.segment_start, u.stripe_event_name, true as discovered from ops.uncovered_segment u
    union all
    select distinct p.subject_id, p.segment_start, null, false
    from ledger.posting p
    where p.batch_id > (select g.discovered_through from ops.dispatch_progress g) and p.to_account = 2
        and not exists (select from ops.uncovered_segment u where u.subject_id = p.subject_id and u.segment_start = p.segment_start)
)
select t.subject_id, t.segment_start, t.stripe_event_name, t.discovered, q.quantity, q.events
from touched t
cross join lateral (
    select coalesce(sum(p.quantity), 0) as quantity, coalesce(sum(p.events), 0) as events
    from ledger.posting p
    where p.subject_id = t.subject_id and p.segment_start = t.segment_start and p.to_account = 2 and p.batch_id > coalesce((
        select max(i.through_batch) from ledger.intent i where i.subject_id = t.subject_id and i.segment_start = t.segment_start
    ), 0)
) q
where q.events <> 0;

create view derived.period_usage as
with fresh as materialized (select * from derived.unsent_segment u where not u.discovered)
select
    p.*,
    coalesce(u.quantity, 0) as unsent, coalesce(u.segments, 0) as unsent_segments,
    coalesce(f.quantity, 0) as in_flight, coalesce(f.intents, 0) as open_intents,
    coalesce(a.acknowledged, 0) as acknowledged, coalesce(a.rejected, 0) as rejected, a.answered_at,
    coalesce(a.expired, 0) as expired, coalesce(a.expired_intents, 0) as expired_intents,
    k.quantity_acknowledged as checked_acknowledged, k.quantity_stripe, k.read_at, k.previous_quantity_stripe, k.previous_read_at,
    h.halted_reason,
    (select c.through from ops.captured_through c) as captured_through
from derived.period_subject p
left join lateral (
    select sum(x.quantity) as quantity, count(*) as segments
    from (
        -- Of each period apart: usage of everybody that waits, for a price say, may be more than one look at one customer can bear.
        select * from derived.unsent_segment u where u.discovered
        union all
        select * from fresh
    ) x
    where x.subject_id = p.subject_id and x.segment_start >= p.period_start and x.segment_start < p.period_end
        and (x.stripe_event_name is null or x.stripe_event_name = p.stripe_event_name)
) u on true
left join lateral (
    select sum(i.quantity) as quantity, count(*) as intents
    from ops.open_intent o
    join ledger.intent i on i.intent_id = o.intent_id
    where o.lane_id = p.lane_id and i.segment_start >= p.period_start and i.segment_start < p.period_end
) f on true
left join lateral (
    select
        sum(i.quantity) filter (where o.class in ('ack', 'ack_duplicate') or o.class = 'settled' and o.may_have_arrived) as acknowledged,
        sum(i.quantity) filter (where o.class = 'reject') as rejected,
        -- Told of by its segment, as what is open is: the minute around the period's end belongs to the next one as well.
        sum(i.quantity) filter (where o.class = 'expired' and i.segment_start >= p.period_start and i.segment_start < p.period_end) as expired,
        count(*) filter (where o.class = 'expired' and i.segment_start >= p.period_start and i.segment_start < p.period_end) as expired_intents,
        max(o.recorded_at) as answered_at
    from ledger.intent i
    join ledger.outcome o on o.intent_id = i.intent_id and o.final
    where i.lane_id = p.lane_id and i.stripe_timestamp >= p.minute_start and i.stripe_timestamp < p.minute_end
) a on true
left join ops.period_check k on k.subscription_item_id = p.subscription_item_id and k.period_start = p.period_start
left join ops.lane_state h on h.lane_id = p.lane_id;

create view derived.period_judged as
select
    j.*,
    j.why_not is null and j.period_end <= ops.now() as provable
from (
    select
        u.*,
        u.unsent + u.in_flight + u.rejected as open_quantity,
        case
            when u.unsent_segments > 0 then format('%s unsent', ops.in_unit(u.unsent, u.scale))
            when u.open_intents > 0 then concat(format('%s in flight', ops.in_unit(u.in_flight, u.scale)), '; lane halted: ' || u.halted_reason)
            when u.rejected <> 0 then format('%s rejected by Stripe', ops.in_unit(u.rejected, u.scale))
            -- A person decides it now, so nothing of it is open; its invoice lacks it all the same, and no equality of sums tells that.
            when u.expired_intents > 0 then format('%s missed its deadline', ops.in_unit(u.expired, u.scale))
            -- The close looks at what is captured, so what lies on the source topic must be.
            when u.captured_through is null then 'not known to be captured'
            when u.captured_through < u.captured_by
                then format('captured only up to %s', to_char(u.captured_through at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
            when u.lane_id is null then null
            -- It was settled before anything was ever sent under that name; a lane that came since changes nothing of it.
            when u.status = 'settled' and u.read_at is null and u.acknowledged = 0 then null
            when u.read_at is null or u.checked_acknowledged is distinct from u.acknowledged then 'not yet compared with Stripe''s summary'
            -- Summaries lag: a shortfall is one when all that was acknowledged is old enough, and a reading a quarter of an hour before agrees.
            when u.quantity_stripe < u.acknowledged
                then format(
                    case
                        when u.read_at >= u.answered_at + u.summary_settle_seconds * interval '1 s'
                            and u.previous_quantity_stripe = u.quantity_stripe and u.read_at >= u.previous_read_at + interval '15 minutes'
                            then 'Stripe''s summary is short by %s, and stays so'
                        else 'Stripe''s summary does not show %s yet'
                    end, ops.in_unit(u.acknowledged - u.quantity_stripe, u.scale)
                )
            when u.quantity_stripe > u.acknowledged
                then format('Stripe''s summary has %s more', ops.in_unit(u.quantity_stripe - u.acknowledged, u.scale))
        end as why_not
    from derived.period_usage u
) j;
