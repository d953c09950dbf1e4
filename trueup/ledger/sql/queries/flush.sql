-- name: request
-- One open request a customer and reason is enough: what was captured since is another one's matter.
insert into ops.flush (customer, reason, through_batch, requested_at)
select %(customer)s, %(reason)s, case when s.is_called then s.last_value else 0 end, ops.now() from ledger.batch_seq s
returning flush_id;

-- name: hasten
-- Segments of customers who wait for a flush are due now; only what was captured when it was asked for is hurried, and only what had
-- begun by then: usage dated ahead goes out with its own window, for Stripe takes no date ahead of now, and now may be the period before.
update ops.uncovered_segment u
set due_at = ops.now()
from ledger.subject s
join ops.flush f on f.customer = s.customer and f.done_at is null
where u.subject_id = s.subject_id and u.due_at > ops.now() and u.waits_for is null and u.segment_start <= f.requested_at
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
    where f.done_at is null and u.due_at > ops.now() and u.waits_for is null and u.segment_start <= f.requested_at and exists (
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
select f.flush_id, f.customer, f.reason from ops.flush f where f.done_at is null order by f.flush_id;

-- name: find
select f.customer, f.through_batch, f.requested_at, f.done_at is not null, ops.dispatch_armed(), ledger.stripe_customer_of(f.customer), (
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
            select u.segment_start from ops.uncovered_segment u where u.subject_id = s.subject_id and u.segment_start <= %(requested_at)s
            union all
            select q.segment_start from ledger.posting q
            where q.subject_id = s.subject_id and q.to_account = 2 and q.segment_start <= %(requested_at)s
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
-- What Stripe's summaries must show before all of a customer is with Stripe: lane by lane, from the first to the last hour that no
-- reading has shown to be equal since its last answer. Also under Stripe customers that were its before.
with answered as (
    select i.lane_id, date_trunc('hour', i.stripe_timestamp, 'UTC') as hour_start, max(o.recorded_at) as answered_at,
        sum(i.quantity) filter (where o.class in ('ack', 'ack_duplicate') or o.class = 'settled' and o.may_have_arrived) as acknowledged
    from ledger.subject s
    join ledger.intent i on i.subject_id = s.subject_id
    join ledger.outcome o on o.intent_id = i.intent_id and o.final and o.class in ('ack', 'ack_duplicate', 'settled')
    where s.customer = %(customer)s
    group by i.lane_id, date_trunc('hour', i.stripe_timestamp, 'UTC')
)
select l.lane_id, l.stripe_event_name, l.stripe_customer, coalesce(d.scale, 0) as scale,
    ledger.milliseconds(min(a.hour_start)) as from_ms, ledger.milliseconds(max(a.hour_start) + interval '1 hour') as to_ms
from answered a
join ledger.lane l on l.lane_id = a.lane_id
join derived.lane d on d.lane_id = l.lane_id
left join ops.stripe_summary r on r.lane_id = a.lane_id and r.hour_start = a.hour_start
where a.acknowledged is not null and (r.quantity is distinct from a.acknowledged or r.read_at < a.answered_at)
group by l.lane_id, l.stripe_event_name, l.stripe_customer, d.scale;

-- name: stuck
-- What of a flush waits for a person, by meter: no cut will take it.
select distinct s.meter, u.waits_for
from ledger.subject s
join ops.uncovered_segment u on u.subject_id = s.subject_id
where s.customer = %(customer)s and u.segment_start <= %(requested_at)s
    and u.waits_for in ('no_plan', 'no_event_name', 'value_too_long', 'too_large')
    and exists (
        select from ledger.posting p
        where p.subject_id = u.subject_id and p.segment_start = u.segment_start and p.to_account = 2 and p.batch_id <= %(through)s
    )
order by 1, 2;

-- name: refused_afterwards
-- Meters of which Stripe said that it refused usage of this customer after its 2xx.
select distinct s.meter
from derived.reported_intent r
join ledger.intent i on i.intent_id = r.intent_id
join ledger.subject s on s.subject_id = i.subject_id
where s.customer = %(customer)s and not exists (select from ledger.invoice_allocation a where a.intent_id = i.intent_id)
order by 1;

-- name: acknowledged
select coalesce(sum(i.quantity), 0)
from ledger.intent i
join ledger.outcome o on o.intent_id = i.intent_id and o.final
where i.lane_id = %(lane_id)s and i.stripe_timestamp >= %(from)s and i.stripe_timestamp < %(to)s
    and (o.class in ('ack', 'ack_duplicate') or o.class = 'settled' and o.may_have_arrived);
