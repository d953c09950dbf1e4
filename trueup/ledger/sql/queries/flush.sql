-- name: request
-- One open request a customer and reason: who asks again means everything captured by now, under the number that is open already.
insert into ops.flush as f (customer, reason, through_batch, requested_at)
select %(customer)s, %(reason)s, case when s.is_called then s.last_value else 0 end, ops.now() from ledger.batch_seq s
on conflict (customer, reason) where done_at is null do update
set through_batch = greatest(f.through_batch, excluded.through_batch), requested_at = greatest(f.requested_at, excluded.requested_at),
    compared_at = null
returning flush_id;

-- name: hasten
-- Segments of customers who wait for a flush are due now; only what was captured when it was asked for is hurried, and only what had
-- begun by then and by now, should the clock have stepped back: usage dated ahead goes out with its own window, for Stripe takes no date ahead of now, and now may be the period before.
update ops.uncovered_segment u
set due_at = ops.now()
from ledger.subject s
join ops.flush f on f.customer = s.customer and f.done_at is null
where u.subject_id = s.subject_id and u.due_at > ops.now() and u.waits_for is null and u.segment_start <= least(f.requested_at, ops.now())
    and exists (
        select from ledger.posting p
        where p.subject_id = u.subject_id and p.segment_start = u.segment_start and p.to_account = 2 and p.batch_id <= f.through_batch
            and p.batch_id > coalesce((
                select max(i.through_batch) from ledger.intent i where i.subject_id = u.subject_id and i.segment_start = u.segment_start
            ), 0)
    );

-- name: pending
-- Whether a flush waits for a cut, or for segments that `hasten` would make due.
select exists (
    select from ops.flush f
    join ledger.subject s on s.customer = f.customer
    join ops.uncovered_segment u on u.subject_id = s.subject_id
    where f.done_at is null and u.due_at > ops.now() and u.waits_for is null and u.segment_start <= least(f.requested_at, ops.now()) and exists (
        select from ledger.posting p
        where p.subject_id = u.subject_id and p.segment_start = u.segment_start and p.to_account = 2 and p.batch_id <= f.through_batch
            and p.batch_id > coalesce((
                select max(i.through_batch) from ledger.intent i where i.subject_id = u.subject_id and i.segment_start = u.segment_start
            ), 0)
    )
);

-- name: uncut
-- Whether something that a flush waits for lies behind the last cut that was looked through.
select exists (
    select from ops.flush f
    cross join ops.dispatch_progress g
    where f.done_at is null and exists (
        select from ledger.posting p
        join ledger.subject s on s.subject_id = p.subject_id
        where s.customer = f.customer and p.to_account = 2 and p.batch_id > g.discovered_through and p.batch_id <= f.through_batch
            and p.segment_start <= f.requested_at
    )
);

-- name: open
select f.flush_id, f.customer, f.reason, f.through_batch, f.requested_at from ops.flush f where f.done_at is null order by f.flush_id;

-- name: find
select f.customer, f.through_batch, f.requested_at, f.done_at is not null, f.compared_at is not null, ops.dispatch_armed(), ledger.stripe_customer_of(f.customer), (
    select a.action from ledger.arming a where a.customer = f.customer order by a.arming_id desc limit 1
) is not distinct from 'disarm', exists (select from ledger.never_billed_customer n where n.customer = f.customer)
from ops.flush f where f.flush_id = %(flush_id)s;

-- name: quantities
-- What of a flush is not through: covered by no intent yet, or by one without a final outcome; and whether all that is left waits for
-- a person.
select s.meter, sum(x.quantity), bool_and(x.stuck)
from ledger.subject s
cross join lateral (
    select p.quantity, p.events as items, k.stuck
    from (
        select t.segment_start, bool_or(t.stuck) as stuck from (
            select u.segment_start, coalesce(u.waits_for = any(%(stuck)s), false) as stuck
            from ops.uncovered_segment u where u.subject_id = s.subject_id and u.segment_start <= %(requested_at)s
            union all
            select q.segment_start, false from ledger.posting q
            where q.subject_id = s.subject_id and q.to_account = 2 and q.segment_start <= %(requested_at)s
                and q.batch_id > (select g.discovered_through from ops.dispatch_progress g) and q.batch_id <= %(through)s
        ) t
        group by t.segment_start
    ) k
    join ledger.posting p on p.subject_id = s.subject_id and p.segment_start = k.segment_start and p.to_account = 2
        and p.batch_id <= %(through)s and p.batch_id > coalesce((
            select max(i.through_batch) from ledger.intent i where i.subject_id = s.subject_id and i.segment_start = k.segment_start
        ), 0)
    union all
    select i.quantity, 1, false
    from ops.open_intent o
    join ledger.intent i on i.intent_id = o.intent_id
    where o.subject_id = s.subject_id and i.after_batch < %(through)s
) x
where s.customer = %(customer)s
group by s.meter
having sum(x.items) <> 0;

-- name: halted
select l.stripe_event_name, h.halted_reason
from ledger.lane l join ops.lane_state h on h.lane_id = l.lane_id
where l.stripe_customer = %(stripe_customer)s and h.halted_reason is not null
limit 1;

-- name: done
-- Only what was looked at: it may have been asked for again since, and mean more.
update ops.flush f set done_at = ops.now()
where f.flush_id = %(flush_id)s and f.done_at is null and f.through_batch = %(through)s and f.requested_at = %(requested_at)s;

-- name: compared
update ops.flush f set compared_at = ops.now()
where f.flush_id = %(flush_id)s and f.done_at is null and f.through_batch = %(through)s and f.requested_at = %(requested_at)s;

-- name: lanes
-- What Stripe's summaries must show before all of a customer is with Stripe: lane by lane, from the first to the last minute of it.
select l.lane_id, l.stripe_event_name, l.stripe_customer, d.scale, ledger.milliseconds(min(h.from_minute)) as from_ms,
    ledger.milliseconds(max(h.to_minute)) as to_ms
from derived.unshown_hours(%(customer)s) h
join ledger.lane l on l.lane_id = h.lane_id
join derived.lane d on d.lane_id = h.lane_id
group by l.lane_id, l.stripe_event_name, l.stripe_customer, d.scale;

-- name: lasting
-- Meters whose summaries will never show what was acknowledged, with why: no flush can wait for that.
with lasting as materialized (select h.lane_id, h.hour_start from derived.unshown_hours(%(customer)s) h where h.lasting)
select l.meter, string_agg(distinct e.explanation, ', ' order by e.explanation)
from lasting h
join derived.lane_hour_explained e on e.lane_id = h.lane_id and e.hour_start = h.hour_start and e.explanation <> 'agrees'
join derived.lane l on l.lane_id = h.lane_id
where exists (select from lasting)
group by l.meter
order by l.meter;

-- name: stuck
-- What of a flush waits for a person, by meter: no cut will take it. What an intent covers does not wait, whatever came to its segment since.
select distinct s.meter, u.waits_for
from ledger.subject s
join ops.uncovered_segment u on u.subject_id = s.subject_id
where s.customer = %(customer)s and u.segment_start <= %(requested_at)s
    and u.waits_for = any(%(stuck)s)
    and exists (
        select from ledger.posting p
        where p.subject_id = u.subject_id and p.segment_start = u.segment_start and p.to_account = 2 and p.batch_id <= %(through)s
            and p.batch_id > coalesce((
                select max(i.through_batch) from ledger.intent i where i.subject_id = u.subject_id and i.segment_start = u.segment_start
            ), 0)
    )
order by 1, 2;

-- name: refused_afterwards
-- Meters of which Stripe said that it refused usage of this customer after its 2xx; as long as that could still be made good.
select distinct s.meter
from derived.reported_intent r
join ledger.intent i on i.intent_id = r.intent_id
join ledger.subject s on s.subject_id = i.subject_id
where s.customer = %(customer)s and i.stripe_timestamp >= ops.now() - interval '35 days'
    and not exists (select from ledger.invoice_allocation a where a.intent_id = i.intent_id)
order by 1;

-- name: acknowledged
select coalesce(sum(i.quantity), 0)
from ledger.intent i
join ledger.outcome o on o.intent_id = i.intent_id and o.final
where i.lane_id = %(lane_id)s and i.stripe_timestamp >= %(from)s and i.stripe_timestamp < %(to)s
    and (o.class in ('ack', 'ack_duplicate') or o.class = 'settled' and o.may_have_arrived);
