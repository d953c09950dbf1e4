-- name: request
-- One open request a customer and reason is enough: what was captured since is another one's matter.
insert into ops.flush (customer, reason, through_batch, requested_at)
select %(customer)s, %(reason)s, case when s.is_called then s.last_value else 0 end, ops.now() from ledger.batch_seq s
returning flush_id;

-- name: hasten
-- Segments of customers who wait for a flush are due now; only what was captured when it was asked for is hurried.
update ops.uncovered_segment u
set due_at = ops.now()
from ledger.subject s
join ops.flush f on f.customer = s.customer and f.done_at is null
where u.subject_id = s.subject_id and u.due_at > ops.now() and u.waits_for is null
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
    where f.done_at is null and u.due_at > ops.now() and u.waits_for is null and exists (
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
    )
);

-- name: open
select f.flush_id, f.customer, f.reason from ops.flush f where f.done_at is null order by f.flush_id;

-- name: find
select f.customer, f.through_batch, f.done_at is not null, ops.dispatch_armed(), ledger.stripe_customer_of(f.customer), (
    select a.action from ledger.arming a where a.customer = f.customer order by a.arming_id desc limit 1
) is not distinct from 'disarm', exists (select from ledger.never_billed_customer n where n.customer = f.customer)
from ops.flush f where f.flush_id = %(flush_id)s;

-- name: quantities
-- What of a flush is not through: covered by no intent yet, or by one without a final outcome.
select s.meter, sum(x.quantity), sum(x.items)::bigint
from ledger.subject s
cross join lateral (
    select coalesce(sum(p.quantity), 0) as quantity, coalesce(sum(p.events), 0) as items
    from (
        select distinct t.segment_start from (
            select u.segment_start from ops.uncovered_segment u where u.subject_id = s.subject_id
            union all
            select q.segment_start from ledger.posting q
            where q.subject_id = s.subject_id and q.to_account = 2
                and q.batch_id > (select g.discovered_through from ops.dispatch_progress g) and q.batch_id <= %(through)s
        ) t
    ) k
    join ledger.posting p on p.subject_id = s.subject_id and p.segment_start = k.segment_start and p.to_account = 2
        and p.batch_id <= %(through)s and p.batch_id > coalesce((
            select max(i.through_batch) from ledger.intent i where i.subject_id = s.subject_id and i.segment_start = k.segment_start
        ), 0)
    union all
    select coalesce(sum(i.quantity), 0), count(*)
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
update ops.flush f set done_at = ops.now() where f.flush_id = %(flush_id)s and f.done_at is null;

-- name: lanes
-- The hours in which a customer's newest answers lie, lane by lane: what Stripe's summaries must show.
select l.lane_id, l.stripe_event_name, l.stripe_customer, coalesce(d.scale, 0) as scale,
    ledger.milliseconds(min(date_trunc('hour', i.stripe_timestamp, 'UTC'))) as from_ms,
    ledger.milliseconds(max(date_trunc('hour', i.stripe_timestamp, 'UTC')) + interval '1 hour') as to_ms
from ledger.lane l
join derived.lane d on d.lane_id = l.lane_id
join ledger.intent i on i.lane_id = l.lane_id
join ledger.outcome o on o.intent_id = i.intent_id and o.final and o.class in ('ack', 'ack_duplicate', 'settled')
where l.stripe_customer = %(stripe_customer)s
    and (o.recorded_at >= %(since)s or i.stripe_timestamp >= %(since)s - interval '1 hour')
group by l.lane_id, l.stripe_event_name, l.stripe_customer, d.scale;

-- name: acknowledged
select coalesce(sum(i.quantity), 0)
from ledger.intent i
join ledger.outcome o on o.intent_id = i.intent_id and o.final
where i.lane_id = %(lane_id)s and i.stripe_timestamp >= %(from)s and i.stripe_timestamp < %(to)s
    and (o.class in ('ack', 'ack_duplicate') or o.class = 'settled' and o.may_have_arrived);

-- name: requested
select ledger.milliseconds(f.requested_at) from ops.flush f where f.flush_id = %(flush_id)s;
