-- name: hours
-- Lane hours to be settled by reading, with the date from which the next reading counts: the last answer is older than Stripe may
-- take to count it, and the first reading is a quarter of an hour old.
select
    o.lane_id,
    o.hour_start,
    floor(extract(epoch from o.hour_start) * 1000)::bigint as hour_start_ms,
    l.stripe_customer,
    l.stripe_event_name,
    v.scale,
    floor(extract(epoch from greatest(
        derived.hour_touched_at(o.lane_id, o.hour_start) + (
            select c.summary_settle_seconds from ledger.catalogue_version c order by c.version desc limit 1
        ) * interval '1 s',
        r.read_at + interval '15 minutes'
    )) * 1000)::bigint as due_ms
from (
    select distinct on (x.lane_id, x.hour_start) x.lane_id, x.hour_start, x.subject_id
    from ops.open_intent x
    where x.settling or ops.past_horizon(x.risk_since, x.deadline)
    order by x.lane_id, x.hour_start, x.intent_id
) o
join ops.lane_state s on s.lane_id = o.lane_id and s.halted_reason is null
join ledger.lane l on l.lane_id = o.lane_id
join ledger.subject j on j.subject_id = o.subject_id
join ledger.meter_version v on v.version = (select max(x.version) from ledger.meter_version x where x.meter = j.meter) and v.meter = j.meter
left join ops.settle_read r on r.lane_id = o.lane_id and r.hour_start = o.hour_start
order by due_ms;

-- name: lease_one
-- The lane stands still while its hour is read and settled. Disarmed too: reading sends nothing, and arming waits for it.
update ops.lane_state l
set holder = %(holder)s, epoch = l.epoch + 1, leased_until = clock_timestamp() + %(lease_seconds)s * interval '1 s'
from (
    select s.lane_id from ops.lane_state s
    where s.lane_id = %(lane_id)s and s.halted_reason is null and s.leased_until < clock_timestamp()
    for update of s skip locked
) f
where l.lane_id = f.lane_id
returning l.epoch;

-- name: renew
-- Under its own epoch only. One that ran out and was taken by nobody is as good as before.
update ops.lane_state l set leased_until = clock_timestamp() + %(lease_seconds)s * interval '1 s'
where l.lane_id = %(lane_id)s and l.epoch = %(epoch)s;

-- name: first_read
-- One that was made before Stripe can have counted the last call of the hour says nothing: the hour may have gone on since.
select r.quantity, r.read_at, r.read_at <= ops.now() - interval '15 minutes' as old_enough
from ops.settle_read r
where r.lane_id = %(lane_id)s and r.hour_start = %(hour_start)s and r.read_at >= derived.hour_touched_at(r.lane_id, r.hour_start) + (
    select c.summary_settle_seconds from ledger.catalogue_version c order by c.version desc limit 1
) * interval '1 s';

-- name: remember_read
insert into ops.settle_read (lane_id, hour_start, quantity, read_at)
values (%(lane_id)s, %(hour_start)s, %(quantity)s, ops.now())
on conflict (lane_id, hour_start) do update set quantity = excluded.quantity, read_at = excluded.read_at;

-- name: forget_read
delete from ops.settle_read r where r.lane_id = %(lane_id)s and r.hour_start = %(hour_start)s;

-- name: unknown
-- The intents of the hour that were sent and not answered, or refused after that. Those never sent are not in Stripe.
select i.intent_id, i.quantity
from ops.open_intent o join ledger.intent i on i.intent_id = o.intent_id
where o.lane_id = %(lane_id)s and o.hour_start = %(hour_start)s and o.risk_since is not null
order by i.intent_id;

-- name: acknowledged
-- What of the hour stands in acknowledged: answered, or settled before as landed.
select coalesce(sum(p.quantity), 0)
from ledger.intent i
join ledger.posting p
    on p.subject_id = i.subject_id and p.segment_start = i.segment_start and p.intent_id = i.intent_id
    and p.from_account = 3 and p.to_account = 4
where i.lane_id = %(lane_id)s and i.stripe_timestamp >= %(hour_start)s and i.stripe_timestamp < %(hour_start)s + interval '1 hour';

-- name: settle
-- One transaction: what landed is acknowledged, the rest is unsent again and a later cut makes a new intent of it.
with given as (
    select * from unnest(%(intent_ids)s::bigint[], %(landed)s::boolean[]) as g (intent_id, landed)
),
posted as (
    insert into ledger.posting (
        batch_id, subject_id, segment_start, segment_end, from_account, to_account, quantity, events,
        oldest_event_time, newest_event_time, intent_id
    )
    select
        %(batch_id)s, p.subject_id, p.segment_start, p.segment_end, 3, case when g.landed then 4 else 2 end,
        p.quantity, p.events, p.oldest_event_time, p.newest_event_time, p.intent_id
    from given g
    join ledger.intent i on i.intent_id = g.intent_id
    join ledger.posting p
        on p.subject_id = i.subject_id and p.segment_start = i.segment_start and p.intent_id = i.intent_id
        and p.from_account = 2 and p.to_account = 3
),
decided as (
    insert into ledger.outcome (intent_id, class, final, may_have_arrived, message, lane_epoch, posted, batch_id, recorded_at)
    select
        g.intent_id, 'settled', true, g.landed, case when g.landed then 'landed' else 'not landed' end,
        %(epoch)s, true, %(batch_id)s, ops.now()
    from given g
),
closed as (
    delete from ops.open_intent o using given g where o.intent_id = g.intent_id
)
insert into ledger.settlement (
    lane_id, hour_start, quantity_unknown, quantity_acknowledged, quantity_stripe, quantity_landed, quantity_remainder,
    first_read_at, second_read_at, batch_id, recorded_at
)
values (
    %(lane_id)s, %(hour_start)s, %(unknown)s, %(acknowledged)s, %(stripe)s, %(quantity_landed)s, %(remainder)s,
    %(first_read_at)s, ops.now(), %(batch_id)s, ops.now()
);

-- name: halt_lane
update ops.lane_state s set halted_reason = %(reason)s, halted_at = ops.now(), leased_until = clock_timestamp()
where s.lane_id = %(lane_id)s and s.epoch = %(epoch)s;
