-- name: identity
select ops.database_identity(), ops.dispatch_armed();

-- name: server_start
select concat_ws(' ', ops.database_identity(), pg_postmaster_start_time());

-- name: record
insert into ledger.arming (action, customer, reason, acted_by, database_identity, lanes_compared, lanes_different, recorded_at)
values (%(action)s, %(customer)s, %(reason)s, %(acted_by)s, ops.database_identity(), %(compared)s, %(different)s, ops.now());

-- name: lanes
-- Every pair that Stripe may hold usage for: the lanes we know, and each mapped customer with each event name of the catalogue.
-- A new or restored ledger knows fewer lanes than Stripe has seen.
with newest as (select max(v.version) as version from ledger.catalogue_version v),
window_start as (select date_trunc('hour', ops.now() - interval '34 days', 'UTC') as at),
mapped as (
    select distinct on (m.customer) m.customer, m.stripe_customer
    from ledger.customer_mapping m order by m.customer, m.mapping_id desc
),
pair as (
    select l.stripe_customer, l.stripe_event_name from ledger.lane l
    union
    select m.stripe_customer, e.stripe_event_name
    from mapped m cross join newest n join ledger.meter_event_name e on e.version = n.version
    where %(customer)s::text is null or m.customer = %(customer)s
    union
    select s.customer, e.stripe_event_name
    from ledger.subject s cross join newest n join ledger.meter_event_name e on e.version = n.version
    where starts_with(s.customer, 'cus_') and (%(customer)s::text is null or s.customer = %(customer)s)
)
select
    p.stripe_customer,
    p.stripe_event_name,
    coalesce(max(v.scale), 0) as scale,
    floor(extract(epoch from w.at) * 1000)::bigint as from_ms,
    coalesce(max(a.quantity), 0) as acknowledged,
    coalesce(max(k.unknown), 0)::bigint as unknown,
    coalesce(max(k.quantity), 0) as unknown_quantity
from pair p
cross join window_start w
-- Any version that has the name: what counts under it keeps its scale, also when its meter was left out since.
left join ledger.meter_event_name e on e.stripe_event_name = p.stripe_event_name
left join ledger.meter_version v on v.version = e.version and v.meter = e.meter
left join ledger.lane l on l.stripe_customer = p.stripe_customer and l.stripe_event_name = p.stripe_event_name
left join lateral (
    select sum(q.quantity) as quantity
    from ledger.intent i
    join ledger.posting q
        on q.subject_id = i.subject_id and q.segment_start = i.segment_start and q.intent_id = i.intent_id
        and q.from_account = 3 and q.to_account = 4
    where i.lane_id = l.lane_id and i.stripe_timestamp >= w.at
) a on true
left join lateral (
    -- Of what was taken back nothing is added: it may not have been received.
    select count(*) as unknown, sum(greatest(i.quantity, 0)) as quantity
    from ops.open_intent o
    join ledger.intent i on i.intent_id = o.intent_id
    where o.lane_id = l.lane_id and o.risk_since is not null
) k on true
where %(customer)s::text is null or p.stripe_customer in (
    select m.stripe_customer from ledger.customer_mapping m where m.customer = %(customer)s
    union all
    select %(customer)s
)
group by p.stripe_customer, p.stripe_event_name, w.at
order by p.stripe_customer, p.stripe_event_name;

-- name: release_lanes
-- A person has looked: what is halted may try again.
update ops.lane_state s set halted_reason = null, halted_at = null, failures = 0
from ledger.lane l
where l.lane_id = s.lane_id and s.halted_reason is not null and (%(stripe_customer)s::text is null or l.stripe_customer = %(stripe_customer)s);

-- name: latest
select a.action, a.reason, a.acted_by, a.database_identity, floor(extract(epoch from a.recorded_at) * 1000)::bigint
from ledger.arming a where a.customer is null order by a.arming_id desc limit 1;

-- name: went_on
-- The newest arming of the whole was of this database, and no room has found since that it was put back.
select a.database_identity = ops.database_identity() and not exists (
    select from ledger.arming d
    where d.arming_id > a.arming_id and (d.acted_by = %(sink)s or d.database_identity <> a.database_identity)
)
from ledger.arming a where a.customer is null and a.action = 'arm' order by a.arming_id desc limit 1;

-- name: paused_customers
select x.customer from (
    select distinct on (a.customer) a.customer, a.action
    from ledger.arming a where a.customer is not null order by a.customer, a.arming_id desc
) x where x.action = 'disarm' order by x.customer;

-- name: halted_lanes
select l.stripe_customer, l.stripe_event_name, s.halted_reason, floor(extract(epoch from s.halted_at) * 1000)::bigint
from ops.lane_state s join ledger.lane l on l.lane_id = s.lane_id
where s.halted_reason is not null
union all
-- What Stripe does not take or one intent can't hold waits before its lane.
select
    coalesce(ledger.stripe_customer_of(j.customer), j.customer), j.meter, u.waits_for,
    floor(extract(epoch from min(u.due_at)) * 1000)::bigint
from ops.uncovered_segment u join ledger.subject j on j.subject_id = u.subject_id
where u.waits_for in ('too_large', 'value_too_long') group by j.customer, j.meter, u.waits_for
order by 1, 2;

-- name: outbox
-- What waits on our side, by state: how many, the oldest usage in it, and the date past which Stripe can't be given it any more
-- (its period's deadline; 35 days after the usage while none is known; for an unknown outcome, the 20 h in which its identifier is
-- surely remembered, if sooner).
select
    -- Usage may come before its customer or plan is known: that waits for somebody else than usage that could be sent.
    case
        when u.waits_for in ('unmapped', 'no_plan', 'ambiguous_plan', 'no_price') then u.waits_for
        when u.waits_for = 'no_event_name' then 'no_plan'
        else 'unsent'
    end as state,
    count(*) as items,
    floor(extract(epoch from min(u.segment_start)) * 1000)::bigint as oldest_ms,
    floor(extract(epoch from min(coalesce(u.deadline, u.segment_start + interval '35 days'))) * 1000)::bigint as deadline_ms
-- What is about to be waived waits for nobody.
from ops.uncovered_segment u where u.waits_for is distinct from 'never_billed'
group by 1
union all
select
    case when o.risk_since is null then 'in_flight' else 'unknown' end, count(*),
    floor(extract(epoch from min(i.segment_start)) * 1000)::bigint,
    floor(extract(epoch from min(coalesce(least(o.risk_since + interval '20 hours', o.deadline), i.segment_start + interval '35 days'))) * 1000)::bigint
from ops.open_intent o join ledger.intent i on i.intent_id = o.intent_id
group by 1;

-- name: halted_counts
select s.halted_reason, count(*) from ops.lane_state s where s.halted_reason is not null group by s.halted_reason
union all
select u.waits_for, count(distinct u.subject_id) from ops.uncovered_segment u where u.waits_for in ('too_large', 'value_too_long') group by u.waits_for;

-- name: mapped
select m.stripe_customer from ledger.customer_mapping m where m.customer = %(customer)s order by m.mapping_id desc limit 1;
