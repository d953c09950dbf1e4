-- name: lease
-- Free lanes with something to send, the longest unserved first; each under a new epoch. Only lane rows are trusted here: what they
-- have to send is asked in a later statement, under the lock, since this one's snapshot may be older.
update ops.lane_state l
set holder = %(holder)s, epoch = l.epoch + 1, leased_until = clock_timestamp() + %(lease_seconds)s * interval '1 s'
from (
    select s.lane_id
    from ops.lane_state s
    where s.halted_reason is null and s.leased_until < clock_timestamp() and ops.dispatch_armed()
      and exists (
          select from ops.open_intent o
          where o.lane_id = s.lane_id and not o.settling
            and coalesce(o.deadline > ops.now(), true) and not ops.past_horizon(o.risk_since, o.deadline)
            and not exists (
                select from ops.open_intent x
                where x.lane_id = o.lane_id and x.hour_start = o.hour_start
                  and (x.settling or ops.past_horizon(x.risk_since, x.deadline))
            )
            and not exists (
                select from ledger.subject j
                where j.subject_id = o.subject_id and (
                    select a.action from ledger.arming a where a.customer = j.customer order by a.arming_id desc limit 1
                ) = 'disarm'
            )
      )
    order by s.leased_until
    limit %(most)s
    for update of s skip locked
) f
where l.lane_id = f.lane_id
returning l.lane_id, l.epoch;

-- name: pick
-- The oldest intent of each leased lane that may be sent: not past its horizon, nothing of its hour being settled, not paused.
select
    h.lane_id,
    h.epoch,
    o.intent_id,
    i.identifier,
    i.body,
    i.body_sha256,
    o.risk_since is not null as earlier_may_have_arrived,
    (select count(*) from ledger.outcome r where r.intent_id = o.intent_id and r.http_status >= 500) as server_errors,
    s.failures
from unnest(%(lane_ids)s::bigint[], %(epochs)s::bigint[]) as h (lane_id, epoch)
join ops.lane_state s on s.lane_id = h.lane_id
cross join lateral (
    select c.intent_id, c.risk_since, c.deadline
    from ops.open_intent c
    where c.lane_id = h.lane_id and not c.settling
      and coalesce(c.deadline > ops.now(), true) and not ops.past_horizon(c.risk_since, c.deadline)
      and not exists (
          select from ops.open_intent x
          where x.lane_id = c.lane_id and x.hour_start = c.hour_start
            and (x.settling or ops.past_horizon(x.risk_since, x.deadline))
      )
      and not exists (
          select from ledger.subject j
          where j.subject_id = c.subject_id and (
              select a.action from ledger.arming a where a.customer = j.customer order by a.arming_id desc limit 1
          ) = 'disarm'
      )
    order by c.intent_id
    limit 1
) o
join ledger.intent i on i.intent_id = o.intent_id;

-- name: attempt
-- Written before the call: from here on the intent may have arrived, until an answer says otherwise.
with given as (
    select * from unnest(%(intent_ids)s::bigint[], %(epochs)s::bigint[], %(keys)s::text[])
        as g (intent_id, lane_epoch, idempotency_key)
),
risked as (
    update ops.open_intent o set risk_since = ops.now() from given g where o.intent_id = g.intent_id and o.risk_since is null
)
insert into ledger.attempt (intent_id, number, lane_epoch, holder, idempotency_key, started_at)
select
    g.intent_id,
    coalesce((select max(a.number) from ledger.attempt a where a.intent_id = g.intent_id), 0) + 1,
    g.lane_epoch, %(holder)s, g.idempotency_key, ops.now()
from given g
returning intent_id, attempt_id;

-- name: free
-- A lane that has nothing to send after all, or whose reading is done.
update ops.lane_state l set leased_until = clock_timestamp()
from unnest(%(lane_ids)s::bigint[], %(epochs)s::bigint[]) as g (lane_id, epoch)
where l.lane_id = g.lane_id and l.epoch = g.epoch;

-- name: lock_lanes
-- In one order, so that two sinks never wait for each other.
select s.lane_id, s.epoch from ops.lane_state s where s.lane_id = any(%(lane_ids)s) order by s.lane_id for update;

-- name: post
-- One answer per attempt. Under its own epoch it moves the quantity, the work and the lane together; under an old one it is
-- evidence and nothing else. Storing the same answers again does nothing.
with given as (
    select * from unnest(
        %(lane_ids)s::bigint[], %(epochs)s::bigint[], %(intent_ids)s::bigint[], %(attempt_ids)s::bigint[],
        %(classes)s::text[], %(finals)s::boolean[], %(arrived)s::boolean[], %(earlier)s::boolean[], %(statuses)s::integer[],
        %(codes)s::text[], %(messages)s::text[], %(request_ids)s::text[], %(halts)s::text[], %(settling)s::boolean[],
        %(waits_seconds)s::double precision[], %(own)s::boolean[]
    ) as g (
        lane_id, epoch, intent_id, attempt_id, class, final, arrived, earlier, http_status, code, message, request_id,
        halted_reason, settling, wait_seconds, own
    )
),
stored as (
    insert into ledger.outcome (
        intent_id, attempt_id, class, final, may_have_arrived, http_status, stripe_code, message, request_id, lane_epoch,
        posted, batch_id, recorded_at
    )
    select
        g.intent_id, g.attempt_id, g.class, g.final and g.own, g.arrived, g.http_status, g.code, g.message, g.request_id, g.epoch,
        g.own, case when g.final and g.own then %(batch_id)s::bigint end, ops.now()
    from given g
    on conflict (attempt_id) where attempt_id is not null do nothing
    returning intent_id, attempt_id, posted, final
),
mine as (
    select g.*, s.final as settled from stored s join given g on g.attempt_id = s.attempt_id where s.posted
),
posted as (
    insert into ledger.posting (
        batch_id, subject_id, segment_start, segment_end, from_account, to_account, quantity, events,
        oldest_event_time, newest_event_time, intent_id
    )
    select
        %(batch_id)s::bigint, p.subject_id, p.segment_start, p.segment_end, 3,
        case when m.class = 'reject' then 7 else 4 end,
        p.quantity, p.events, p.oldest_event_time, p.newest_event_time, p.intent_id
    from mine m
    join ledger.intent i on i.intent_id = m.intent_id
    join ledger.posting p
        on p.subject_id = i.subject_id and p.segment_start = i.segment_start and p.intent_id = i.intent_id
        and p.from_account = 2 and p.to_account = 3
    where m.settled
    returning intent_id
),
closed as (
    delete from ops.open_intent o using mine m where o.intent_id = m.intent_id and m.settled
),
kept as (
    update ops.open_intent o
    set risk_since = case when m.arrived or m.earlier then o.risk_since end, settling = o.settling or m.settling
    from mine m
    where o.intent_id = m.intent_id and not m.settled
),
lanes as (
    update ops.lane_state l
    set
        leased_until = clock_timestamp() + m.wait_seconds * interval '1 s',
        failures = case when m.settled or m.settling then 0 else l.failures + 1 end,
        halted_reason = coalesce(l.halted_reason, m.halted_reason),
        halted_at = case when l.halted_reason is null and m.halted_reason is not null then ops.now() else l.halted_at end
    from mine m
    where l.lane_id = m.lane_id
)
select (select count(*) from stored), (select count(*) from posted), (select count(*) from mine m where m.settled);

-- name: work
-- What the lanes have before them, as the street's clock asks it.
with paused as (
    select x.customer from (
        select distinct on (a.customer) a.customer, a.action
        from ledger.arming a where a.customer is not null order by a.customer, a.arming_id desc
    ) x where x.action = 'disarm'
)
select
    count(*) filter (where not o.settling and coalesce(o.deadline > ops.now(), true) and not ops.past_horizon(o.risk_since, o.deadline) and not exists (
        select from ops.open_intent x
        where x.lane_id = o.lane_id and x.hour_start = o.hour_start
          and (x.settling or ops.past_horizon(x.risk_since, x.deadline))
    )) as to_send,
    count(*) filter (where o.settling or ops.past_horizon(o.risk_since, o.deadline)) as to_settle,
    floor(extract(epoch from min(least(o.risk_since + interval '20 hours', o.deadline))
        filter (where not o.settling and least(o.risk_since + interval '20 hours', o.deadline) > ops.now())) * 1000)::bigint as next_horizon_ms
from ops.open_intent o
join ops.lane_state s on s.lane_id = o.lane_id and s.halted_reason is null
join ledger.subject j on j.subject_id = o.subject_id
where j.customer not in (select p.customer from paused p);

-- name: may_send
-- Asked right before the call: the lease is still this holder's and lasts, and the deadline is still ahead, as the facts say now. Whether the
-- horizon was reached was asked when the lane was leased: as long as the lease lasts, that is true enough.
select s.epoch = %(epoch)s and s.leased_until > clock_timestamp() and least(
    ledger.deadline_at(l.stripe_customer, l.stripe_event_name, j.meter, i.segment_start),
    i.segment_start + derived.horizon_at(j.meter, ops.now())
) > ops.now()
from ops.lane_state s
join ledger.lane l on l.lane_id = s.lane_id
join ledger.intent i on i.intent_id = %(intent_id)s
join ledger.subject j on j.subject_id = i.subject_id
where s.lane_id = %(lane_id)s;
