-- name: read_committed
-- Said aloud, whatever the server's default: in REPEATABLE READ the snapshot would be older than the lock and miss usage.
set transaction isolation level read committed;

-- name: lock_timeout
select set_config('lock_timeout', %(timeout)s, true);

-- name: record_cut
-- A statement of its own, under the exclusive barrier: every batch number up to this one is committed or will never be.
insert into ledger.cut (through_batch, recorded_at)
select case when s.is_called then s.last_value else 0 end, ops.now() from ledger.batch_seq s
returning cut_id, through_batch;

-- name: state
-- What the cutter and the street's clock ask many times a second: a few single rows.
select
    ops.dispatch_armed() as armed,
    (select case when s.is_called then s.last_value else 0 end from ledger.batch_seq s) as newest_batch,
    g.discovered_through,
    g.judged_by = concat_ws(
        ':',
        (select coalesce(max(m.mapping_id), 0) from ledger.customer_mapping m),
        (select coalesce(max(n.never_billed_id), 0) from ledger.never_billed_customer n),
        (select coalesce(max(f.plan_fact_id), 0) from ledger.plan_fact f),
        (select coalesce(max(v.version), 0) from ledger.catalogue_version v),
        (select coalesce(max(v.version), 0) from ledger.catalogue_version v where v.in_force_from <= ops.now()),
        (select coalesce(max(a.arming_id), 0) from ledger.arming a),
        ops.dispatch_armed(),
        (select coalesce(max(p.period_id), 0) from ledger.billing_period p),
        (select coalesce(max(e.period_event_id), 0) from ledger.period_event e)
    ) as judged,
    exists (select from ops.uncovered_segment w where w.waits_for = 'never_billed') as to_waive,
    -- What a pause keeps back or Stripe would not take, and what was cut and never called, is looked at when its deadline comes.
    floor(extract(epoch from least(
        (
            select min(case when u.waits_for is null then u.due_at else greatest(u.due_at, u.deadline) end)
            from ops.uncovered_segment u
            where u.waits_for is null or u.waits_for in ('disarmed', 'value_too_long', 'no_plan', 'ambiguous_plan', 'no_event_name') and u.deadline is not null
        ),
        (select min(o.deadline) from ops.open_intent o where o.risk_since is null and not o.settling)
    )) * 1000)::bigint as next_due_ms,
    floor(extract(epoch from ops.now()) * 1000)::bigint as now_ms
from ops.dispatch_progress g;

-- name: fresh_due
-- When the earliest posting that no cut has looked at yet will be due. It cannot know what is being committed just now; a cut does.
with touched as materialized (
    select p.subject_id, min(p.segment_end) as segment_end, min(p.segment_end - p.segment_start) as length, min(p.batch_id) as batch_id
    from ledger.posting p
    where p.batch_id > %(after)s and p.to_account = 2
    group by p.subject_id, p.segment_start
)
select floor(extract(epoch from min(
    greatest(t.segment_end, date_bin(r.roll_up, b.recorded_at - interval '60 s', timestamptz '1970-01-01 00:00:00+00') + r.roll_up)
    + interval '60 s'
)) * 1000)::bigint as due_ms
from touched t
join ledger.batch b on b.batch_id = t.batch_id
join ledger.subject s on s.subject_id = t.subject_id
left join ledger.meter_version v
    on v.version = (select max(x.version) from ledger.meter_version x where x.meter = s.meter) and v.meter = s.meter
cross join lateral (select coalesce(v.roll_up_seconds * interval '1 s', t.length) as roll_up) r;

-- name: lock_progress
-- One cutter at a time looks and cuts; a second one passes by.
select g.discovered_through, g.cut_id from ops.dispatch_progress g for update skip locked;

-- name: await_progress
-- The same for whoever may not pass by.
select g.discovered_through, g.cut_id from ops.dispatch_progress g for update;

-- name: discover
-- A posting is due a minute after its segment's end, or after the end of the roll-up in which it was recorded: so stragglers of a
-- segment go out together, at most once per roll-up, at dates that do not depend on how fast anything ran.
with touched as materialized (
    select
        p.subject_id, p.segment_start, min(p.segment_end) as segment_end, min(p.segment_end - p.segment_start) as length,
        min(p.batch_id) as batch_id
    from ledger.posting p
    where p.batch_id > %(after)s and p.batch_id <= %(through)s and p.to_account = 2
    group by p.subject_id, p.segment_start
)
insert into ops.uncovered_segment (subject_id, segment_start, due_at, waits_for)
select
    t.subject_id,
    t.segment_start,
    greatest(t.segment_end, date_bin(r.roll_up, b.recorded_at - interval '60 s', timestamptz '1970-01-01 00:00:00+00') + r.roll_up)
    + interval '60 s',
    'unmapped'
from touched t
join ledger.batch b on b.batch_id = t.batch_id
join ledger.subject s on s.subject_id = t.subject_id
left join ledger.meter_version v
    on v.version = (select max(x.version) from ledger.meter_version x where x.meter = s.meter) and v.meter = s.meter
cross join lateral (select coalesce(v.roll_up_seconds * interval '1 s', t.length) as roll_up) r
on conflict (subject_id, segment_start) do update
-- What was too large for one intent may fit, with what came now.
set due_at = least(uncovered_segment.due_at, excluded.due_at),
    waits_for = case when uncovered_segment.waits_for in ('too_large', 'value_too_long') then 'unmapped' else uncovered_segment.waits_for end;

-- name: progress
update ops.dispatch_progress set discovered_through = %(through)s, cut_id = %(cut_id)s;

-- name: judge
-- Where each uncovered segment goes, or what it waits for. All of them when a mapping, a plan, the catalogue or a pause has
-- changed, else those that wait. A meter that was left out of the catalogue goes by the last version that had it.
with paused as (
    select x.customer from (
        select distinct on (a.customer) a.customer, a.action
        from ledger.arming a where a.customer is not null order by a.customer, a.arming_id desc
    ) x where x.action = 'disarm'
),
-- Usage that no subscription has a price for may pile up for as long as its customer uses it. What has none still, whatever the plan, is
-- looked at once a customer and meter and not window by window.
unpriced as materialized (
    select s.subject_id
    from (select distinct w.subject_id from ops.uncovered_segment w where w.waits_for = 'no_price') w
    join ledger.subject s on s.subject_id = w.subject_id
    cross join lateral (select ledger.stripe_customer_of(s.customer) as stripe_customer) m
    where exists (select from ledger.billing_period p where p.stripe_customer = m.stripe_customer)
        and not exists (
            select from ledger.billing_period p
            join ledger.meter_event_name e on e.stripe_event_name = p.stripe_event_name
            where p.stripe_customer = m.stripe_customer and e.meter = s.meter
        )
        and not exists (select from ledger.never_billed_customer b where b.customer = s.customer)
        and s.customer not in (select p.customer from paused p)
),
target as (
    select
        u.subject_id,
        u.segment_start,
        m.stripe_customer,
        coalesce(known.stripe_event_name, late.stripe_event_name) as stripe_event_name,
        d.deadline as period_deadline,
        least(d.deadline, h.until) as any_deadline,
        case
            when exists (select from ledger.never_billed_customer b where b.customer = s.customer) then 'never_billed'
            when u.waits_for = 'too_large' then 'too_large'
            when u.waits_for = 'value_too_long' and least(d.deadline, h.until) > ops.now() then 'value_too_long'
            -- A pause does not outlast the deadline: from there on it is decided by a person.
            when s.customer in (select p.customer from paused p) and least(d.deadline, h.until) > ops.now() then 'disarmed'
            when m.stripe_customer is null then 'unmapped'
            when coalesce(known.stripe_event_name, late.stripe_event_name) is null then case
                when cardinality(live.names) > 1 then 'ambiguous_plan'
                when f.plan is null and exists (select from ledger.meter_event_name e where e.version = n.version and e.meter = s.meter) then 'no_plan'
                else 'no_event_name'
            end
            -- The customer's subscriptions are known, and none has ever had a price for it: Stripe would bill it to nobody. Of a customer
            -- without a subscription nothing is known; Stripe takes the usage, and a subscription that begins before it bills it.
            when exists (select from ledger.billing_period p where p.stripe_customer = m.stripe_customer)
                and not exists (
                    select from ledger.billing_period p
                    where p.stripe_customer = m.stripe_customer
                        and p.stripe_event_name = coalesce(known.stripe_event_name, late.stripe_event_name)
                ) then 'no_price'
            when not d.armed and least(d.deadline, h.until) > ops.now() then 'disarmed'
        end as waits_for
    from ops.uncovered_segment u
    join ledger.subject s on s.subject_id = u.subject_id
    cross join lateral (select max(x.version) as version from ledger.meter_version x where x.meter = s.meter) n
    cross join lateral (select ledger.stripe_customer_of(s.customer) as stripe_customer) m
    left join lateral (
        select p.plan from ledger.plan_fact p
        where p.customer = s.customer and p.effective_from <= u.segment_start
        order by p.effective_from desc, p.plan_fact_id desc limit 1
    ) f on true
    left join ledger.meter_event_name plain on plain.version = n.version and plain.meter = s.meter and plain.plan = ''
    left join ledger.meter_event_name scoped on scoped.version = n.version and scoped.meter = s.meter and scoped.plan = f.plan
    -- Under which names the subscriptions that run at that time count it, each by its own plan.
    left join lateral (
        select array_agg(distinct e.stripe_event_name) as names
        from (
            select distinct on (p.subscription_id) p.subscription_id, p.plan from ledger.plan_fact p
            where p.customer = s.customer and p.effective_from <= u.segment_start
            order by p.subscription_id, p.effective_from desc, p.plan_fact_id desc
        ) held
        join ledger.meter_event_name e on e.version = n.version and e.meter = s.meter and e.plan = held.plan
        where plain.stripe_event_name is null and exists (
            select from derived.period p
            where p.stripe_customer = m.stripe_customer and p.subscription_id = held.subscription_id
                and p.period_start <= u.segment_start
                and (
                    p.period_end > u.segment_start
                    -- A period that ended just now has a successor that is not known yet, unless something says that it ended for good:
                    -- an event, or that it was longer before.
                    or ops.now() < p.period_end + interval '1 day'
                    and not exists (
                        select from ledger.billing_period n
                        where n.subscription_id = p.subscription_id and n.period_start >= p.period_end
                    )
                    and not exists (
                        select from ledger.billing_period b
                        where b.subscription_item_id = p.subscription_item_id and b.period_start = p.period_start
                            and b.period_end > p.period_end
                    )
                    and not exists (
                        select from ledger.stripe_event t
                        where t.object_id = p.subscription_id and t.type = 'customer.subscription.deleted'
                    )
                )
        )
    ) live on true
    -- Of no subscription that runs, the plan that was told of last.
    cross join lateral (
        select case
            when plain.stripe_event_name is not null then plain.stripe_event_name
            when live.names is null then scoped.stripe_event_name
            when cardinality(live.names) = 1 then live.names[1]
        end as stripe_event_name
    ) known
    -- Counted per plan, and nobody knows which plan: some item of the customer may bill it, and the earliest of their dates ends the
    -- waiting. From there on a person decides, and it goes by the name of that item.
    left join lateral (
        select e.stripe_event_name, a.deadline
        from ledger.meter_event_name e
        cross join lateral (select ledger.deadline_at(m.stripe_customer, e.stripe_event_name, s.meter, u.segment_start) as deadline) a
        where e.version = n.version and e.meter = s.meter and a.deadline is not null
            and known.stripe_event_name is null
        order by a.deadline, e.stripe_event_name limit 1
    ) any_plan on true
    left join lateral (select any_plan.stripe_event_name where any_plan.deadline <= ops.now()) late on true
    cross join lateral (
        select
            coalesce(
                ledger.deadline_at(m.stripe_customer, known.stripe_event_name, s.meter, u.segment_start),
                any_plan.deadline
            ) as deadline,
            (select ops.dispatch_armed()) as armed
    ) d
    -- Stripe takes nothing that lies further back.
    cross join lateral (select u.segment_start + derived.horizon_at(s.meter, ops.now()) as until) h
    where (%(everything)s or u.waits_for is not null)
        and not (u.waits_for is not distinct from 'no_price' and u.subject_id in (select p.subject_id from unpriced p))
)
update ops.uncovered_segment u
set
    waits_for = t.waits_for,
    deadline = t.deadline,
    stripe_customer = case when t.waits_for is null then t.stripe_customer end,
    stripe_event_name = case when t.waits_for is null then t.stripe_event_name end
from (
    -- Nobody knows whom to send it for: until that is known it waits, however old it is, unless its period's deadline is known.
    select
        x.*,
        case
            when x.waits_for in ('never_billed', 'unmapped', 'no_plan', 'ambiguous_plan', 'no_price', 'no_event_name', 'too_large')
                then x.period_deadline
            else x.any_deadline
        end as deadline
    from target x
) t
where u.subject_id = t.subject_id and u.segment_start = t.segment_start
  and (u.waits_for, u.deadline, u.stripe_customer, u.stripe_event_name) is distinct from (
      t.waits_for,
      t.deadline,
      case when t.waits_for is null then t.stripe_customer end,
      case when t.waits_for is null then t.stripe_event_name end
  );

-- name: judging
-- Under what the next judgement is made; read before it, so that what comes in between is judged again.
select concat_ws(
    ':',
    (select coalesce(max(m.mapping_id), 0) from ledger.customer_mapping m),
    (select coalesce(max(n.never_billed_id), 0) from ledger.never_billed_customer n),
    (select coalesce(max(f.plan_fact_id), 0) from ledger.plan_fact f),
    (select coalesce(max(v.version), 0) from ledger.catalogue_version v),
    (select coalesce(max(v.version), 0) from ledger.catalogue_version v where v.in_force_from <= ops.now()),
    (select coalesce(max(a.arming_id), 0) from ledger.arming a),
    ops.dispatch_armed(),
    (select coalesce(max(p.period_id), 0) from ledger.billing_period p),
    (select coalesce(max(e.period_event_id), 0) from ledger.period_event e)
) as judged_by;

-- name: judged
update ops.dispatch_progress set judged_by = %(judged_by)s where judged_by <> %(judged_by)s;

-- name: coverages
-- What due segments hold beyond their last intent, up to the cut. Its batches are all committed: reading again gives the same.
-- Where the sum has more digits than Stripe takes, or than its summary would show exactly together with what went out before, the
-- longest run of batches whose sum has not; the rest is covered in the next round. Past its deadline nothing is sent, so that 64 bits
-- are enough.
select
    u.subject_id,
    s.customer,
    s.meter,
    u.segment_start,
    floor(extract(epoch from u.segment_start) * 1000)::bigint as segment_start_ms,
    p.segment_end,
    c.through_batch as after_batch,
    case when w.fits_through = w.last_batch then g.discovered_through else coalesce(w.fits_through, g.discovered_through) end as through_batch,
    g.discovered_through as looked_through,
    g.cut_id,
    case when w.last_batch is null or w.fits_through is not null then null when w.holds then 'value_too_long' else 'too_large' end as set_aside_as,
    w.fits_through is not distinct from w.last_batch as whole,
    p.quantity,
    p.events,
    p.oldest_event_time,
    p.newest_event_time,
    floor(extract(epoch from p.newest_event_time) * 1000)::bigint as newest_event_time_ms,
    u.stripe_customer,
    u.stripe_event_name,
    v.scale,
    floor(extract(epoch from ops.now()) * 1000)::bigint as now_ms
from (
    select * from ops.uncovered_segment w
    -- Due when the round began: what became due since may have usage behind the last cut, which the next round looks through first.
    where w.due_at <= coalesce(to_timestamp(%(due_by_ms)s::bigint / 1000.0), ops.now()) and w.waits_for is null
    order by w.due_at
    limit %(most)s
) u
cross join ops.dispatch_progress g
join ledger.subject s on s.subject_id = u.subject_id
join ledger.meter_version v on v.version = (select max(x.version) from ledger.meter_version x where x.meter = s.meter) and v.meter = s.meter
cross join lateral (
    select coalesce(max(i.through_batch), 0) as through_batch from ledger.intent i
    where i.subject_id = u.subject_id and i.segment_start = u.segment_start
) c
cross join lateral (
    -- What Stripe has of this segment, or may get: it went to in_flight, and did not leave it otherwise than acknowledged.
    select coalesce(sum(case when h.to_account = 3 then h.quantity else -h.quantity end), 0) as quantity
    from ledger.posting h
    where c.through_batch > 0 and h.subject_id = u.subject_id and h.segment_start = u.segment_start
        and (h.to_account = 3 or h.from_account = 3 and h.to_account <> 4)
) a
cross join lateral (
    select
        max(r.batch_id) filter (
            where case
                when u.deadline <= ops.now() then abs(r.running) <= 9223372036854775807
                else greatest(abs(r.running), abs(a.quantity + r.running)) <= %(largest)s::bigint
            end
        ) as fits_through,
        bool_or(abs(r.running) <= 9223372036854775807) as holds,
        max(r.batch_id) as last_batch
    from (
        select q.batch_id, sum(sum(q.quantity)) over (order by q.batch_id) as running
        from ledger.posting q
        where q.subject_id = u.subject_id and q.segment_start = u.segment_start and q.to_account = 2
          and q.batch_id > c.through_batch and q.batch_id <= g.discovered_through
        group by q.batch_id
    ) r
) w
cross join lateral (
    select
        min(n.segment_end) as segment_end, coalesce(sum(n.quantity), 0)::bigint as quantity, coalesce(sum(n.events), 0)::bigint as events,
        -- A posting that was divided stands there with its reversal; the dates are those of the part that was left.
        min(n.oldest_event_time) filter (where n.segment_end = n.shortest_end) as oldest_event_time,
        max(n.newest_event_time) filter (where n.segment_end = n.shortest_end) as newest_event_time
    from (
        select p.*, min(p.segment_end) over () as shortest_end
        from ledger.posting p
        where p.subject_id = u.subject_id and p.segment_start = u.segment_start and p.to_account = 2
          and p.batch_id > c.through_batch and p.batch_id <= w.fits_through
    ) n
) p;

-- name: lock_covered
-- The coverage still stands: no newer cut was looked through since it was read. The lock keeps it so until the intents are in.
select g.cut_id from ops.dispatch_progress g where g.discovered_through = %(through)s for update;

-- name: still_due
-- Which of these segments nobody covered, divided or judged otherwise since they were read. What is longer than Stripe takes was
-- read past a deadline, which may have been moved since.
select u.subject_id, u.segment_start
from unnest(
    %(subject_ids)s::bigint[], %(segment_starts)s::timestamptz[], %(stripe_customers)s::text[], %(stripe_event_names)s::text[],
    %(quantities)s::bigint[]
) as g (subject_id, segment_start, stripe_customer, stripe_event_name, quantity)
join ops.uncovered_segment u
    on u.subject_id = g.subject_id and u.segment_start = g.segment_start and u.waits_for is null
    and u.stripe_customer = g.stripe_customer and u.stripe_event_name = g.stripe_event_name
    and (g.quantity between -%(largest)s::bigint and %(largest)s::bigint or u.deadline <= ops.now());

-- name: make_lanes
with given as (
    select distinct g.stripe_customer, g.stripe_event_name
    from unnest(%(stripe_customers)s::text[], %(stripe_event_names)s::text[]) as g (stripe_customer, stripe_event_name)
)
insert into ledger.lane (stripe_customer, stripe_event_name)
select g.stripe_customer, g.stripe_event_name from given g
where not exists (
    select from ledger.lane l where l.stripe_customer = g.stripe_customer and l.stripe_event_name = g.stripe_event_name
)
on conflict (stripe_customer, stripe_event_name) do nothing;

-- name: make_lane_states
insert into ops.lane_state (lane_id)
select l.lane_id from ledger.lane l
where not exists (select from ops.lane_state s where s.lane_id = l.lane_id)
on conflict (lane_id) do nothing;

-- name: make_intents
-- Intents, their postings and their place in the work of the lanes; a segment that sums to zero is settled at once.
with given as (
    select * from unnest(
        %(subject_ids)s::bigint[], %(segment_starts)s::timestamptz[], %(segment_ends)s::timestamptz[],
        %(after_batches)s::bigint[], %(through_batches)s::bigint[], %(quantities)s::bigint[], %(events)s::bigint[],
        %(oldest)s::timestamptz[], %(newest)s::timestamptz[],
        %(stripe_customers)s::text[], %(stripe_event_names)s::text[],
        %(identifiers)s::text[], %(stripe_timestamps_ms)s::bigint[], %(bodies)s::text[], %(digests)s::text[]
    ) as g (
        subject_id, segment_start, segment_end, after_batch, through_batch, quantity, events, oldest, newest,
        stripe_customer, stripe_event_name, identifier, stripe_timestamp_ms, body, body_sha256
    )
),
made as (
    insert into ledger.intent (
        lane_id, subject_id, segment_start, segment_end, after_batch, through_batch, cut_id, quantity, events,
        identifier, stripe_timestamp, body, body_sha256, batch_id, recorded_at
    )
    select
        l.lane_id, g.subject_id, g.segment_start, g.segment_end, g.after_batch, g.through_batch, %(cut_id)s, g.quantity, g.events,
        g.identifier, to_timestamp(g.stripe_timestamp_ms / 1000), g.body::jsonb, g.body_sha256, %(batch_id)s, ops.now()
    from given g
    join ledger.lane l on l.stripe_customer = g.stripe_customer and l.stripe_event_name = g.stripe_event_name
    on conflict (subject_id, segment_start, after_batch) do nothing
    returning intent_id, lane_id, subject_id, segment_start, segment_end, quantity, events, stripe_timestamp
),
judged as (
    -- What goes out to nobody: nothing to send, or too late to be sent.
    select
        m.*, u.deadline,
        case when m.quantity = 0 then 'zero' when u.deadline <= ops.now() then 'expired' end as ended,
        case when m.quantity = 0 then 4 when u.deadline <= ops.now() then 8 end::smallint as ends_in
    from made m
    join ops.uncovered_segment u on u.subject_id = m.subject_id and u.segment_start = m.segment_start
),
posted as (
    insert into ledger.posting (
        batch_id, subject_id, segment_start, segment_end, from_account, to_account, quantity, events,
        oldest_event_time, newest_event_time, intent_id
    )
    select
        %(batch_id)s, m.subject_id, m.segment_start, m.segment_end, t.from_account, t.to_account, m.quantity, m.events,
        g.oldest, g.newest, m.intent_id
    from judged m
    join given g on g.subject_id = m.subject_id and g.segment_start = m.segment_start
    cross join lateral (values (2::smallint, 3::smallint), (3::smallint, m.ends_in)) as t (from_account, to_account)
    where t.to_account is not null
),
settled as (
    insert into ledger.outcome (intent_id, class, final, may_have_arrived, posted, batch_id, recorded_at)
    select m.intent_id, m.ended, true, false, true, %(batch_id)s, ops.now() from judged m where m.ended is not null
),
opened as (
    insert into ops.open_intent (intent_id, lane_id, subject_id, hour_start, deadline)
    select m.intent_id, m.lane_id, m.subject_id, date_trunc('hour', m.stripe_timestamp, 'UTC'), m.deadline from judged m where m.ended is null
)
select count(*) from made;

-- name: covered
-- What was due and read under this cut is covered now, or had nothing left to cover.
delete from ops.uncovered_segment u
using unnest(%(subject_ids)s::bigint[], %(segment_starts)s::timestamptz[]) as g (subject_id, segment_start)
where u.subject_id = g.subject_id and u.segment_start = g.segment_start;

-- name: set_aside
-- No run of its batches has a sum that Stripe takes, or that an intent can hold. It stays where it is; the others go on.
update ops.uncovered_segment u
set waits_for = g.waits_for, stripe_customer = null, stripe_event_name = null
from unnest(%(subject_ids)s::bigint[], %(segment_starts)s::timestamptz[], %(waits_for)s::text[]) as g (subject_id, segment_start, waits_for)
where u.subject_id = g.subject_id and u.segment_start = g.segment_start;

-- name: insert_batch
insert into ledger.batch (batch_id, kind, writer, recorded_at) values (%(batch_id)s, %(kind)s, %(writer)s, ops.now());

-- name: waive
-- What is never billed leaves unsent posting by posting, so that no sum has to fit, up to the last cut that was looked through. Only
-- so many postings at once, since nobody holds the barrier for long: the segment that they end in may go on from there later.
with due as (
    select u.subject_id, u.segment_start from ops.uncovered_segment u where u.waits_for = 'never_billed'
    order by u.subject_id, u.segment_start limit %(most)s
),
covered as materialized (
    select p.*, d.after_batch
    from (
        select d.*, (
            select coalesce(max(w.through_batch), 0) from ledger.waived_segment w
            where w.subject_id = d.subject_id and w.segment_start = d.segment_start
        ) as after_batch
        from due d
    ) d
    join ledger.posting p
        on p.subject_id = d.subject_id and p.segment_start = d.segment_start and p.to_account = 2
        and p.batch_id > d.after_batch and p.batch_id <= %(through)s
    -- All of a batch, or nothing of it.
    order by p.subject_id, p.segment_start, p.batch_id
    fetch first %(most)s rows with ties
),
ended_in as (
    select c.subject_id, c.segment_start, c.batch_id
    from covered c
    where (select count(*) from covered) >= %(most)s
    order by c.subject_id desc, c.segment_start desc, c.batch_id desc limit 1
),
noted as (
    insert into ledger.waived_segment (subject_id, segment_start, after_batch, through_batch, cut_id, quantity, events, batch_id)
    select c.subject_id, c.segment_start, c.after_batch, coalesce(e.batch_id, %(through)s), %(cut_id)s, sum(c.quantity), sum(c.events), %(batch_id)s
    from covered c
    left join ended_in e on e.subject_id = c.subject_id and e.segment_start = c.segment_start
    group by c.subject_id, c.segment_start, c.after_batch, e.batch_id
),
posted as (
    insert into ledger.posting (
        batch_id, subject_id, segment_start, segment_end, from_account, to_account, quantity, events, oldest_event_time, newest_event_time
    )
    select %(batch_id)s, c.subject_id, c.segment_start, c.segment_end, 2, 10, c.quantity, c.events, c.oldest_event_time, c.newest_event_time
    from covered c
),
gone as (
    delete from ops.uncovered_segment u using due d
    where u.subject_id = d.subject_id and u.segment_start = d.segment_start
        and not exists (select from ended_in e where (e.subject_id, e.segment_start) <= (u.subject_id, u.segment_start))
)
select count(*) from due d
where not exists (select from ended_in e where (e.subject_id, e.segment_start) < (d.subject_id, d.segment_start));

-- name: judge_intents
-- The deadlines of what was cut already, after a period's facts or the catalogue changed.
update ops.open_intent o
set deadline = d.deadline
from ledger.intent i
join ledger.lane l on l.lane_id = i.lane_id
join ledger.subject s on s.subject_id = i.subject_id
cross join lateral (
    select least(
        ledger.deadline_at(l.stripe_customer, l.stripe_event_name, s.meter, i.segment_start),
        i.segment_start + derived.horizon_at(s.meter, ops.now())
    ) as deadline
) d
where i.intent_id = o.intent_id and o.deadline is distinct from d.deadline;

-- name: dividing
-- Boundaries of periods, and changes of plan, strictly inside segments that wait to be cut, up to the last cut that was looked
-- through: inside all of them, or those that are named.
select distinct u.subject_id, u.segment_start, c.through_batch, b.boundary
from ops.uncovered_segment u
cross join ops.dispatch_progress g
join ledger.subject s on s.subject_id = u.subject_id
cross join lateral (select max(x.version) as version from ledger.meter_version x where x.meter = s.meter) n
cross join lateral (select coalesce(u.stripe_customer, ledger.stripe_customer_of(s.customer)) as stripe_customer) m
cross join lateral (
    select x.boundary
    from ledger.meter_event_name e
    join derived.period p on p.stripe_customer = m.stripe_customer and p.stripe_event_name = e.stripe_event_name
    cross join lateral (values (p.period_start), (p.period_end)) as x (boundary)
    where e.version = n.version and e.meter = s.meter
    union all
    select f.effective_from from ledger.plan_fact f where f.customer = s.customer
) b
cross join lateral (
    select coalesce(max(i.through_batch), 0) as through_batch from ledger.intent i
    where i.subject_id = u.subject_id and i.segment_start = u.segment_start
) c
where b.boundary > u.segment_start and b.boundary < u.segment_start + interval '1 hour' and u.waits_for is distinct from 'too_large'
    and (
        %(subject_ids)s::bigint[] is null
        or (u.subject_id, u.segment_start) in (
            select g.subject_id, g.segment_start
            from unnest(%(subject_ids)s::bigint[], %(segment_starts)s::timestamptz[]) as g (subject_id, segment_start)
        )
    )
    and exists (
        select from ledger.posting q
        join ledger.batch w on w.batch_id = q.batch_id and w.kind in ('capture', 'split', 'settlement')
        where q.subject_id = u.subject_id and q.segment_start = u.segment_start and q.to_account = 2 and q.from_account in (1, 3)
            and q.segment_end > b.boundary and q.events > 0 and q.batch_id > c.through_batch and q.batch_id <= g.discovered_through
            and not exists (
                select from ledger.division d
                where d.subject_id = q.subject_id and d.segment_start = q.segment_start and d.segment_end = q.segment_end
                    and d.divided_batch_id = q.batch_id
            )
    )
order by 1, 2, 4;

-- name: split
-- Whole postings are taken back and posted anew part by part, from the event rows; says what was taken and what was given. What a
-- posting holds is found by the way it came: a captured one holds its batch's events, a part those of what was divided that lie in
-- it, and what came back from a reading of Stripe those of all that its intent covered.
with recursive edge as (
    select g.subject_id, g.segment_start, g.after_batch, g.boundary
    from unnest(%(subject_ids)s::bigint[], %(segment_starts)s::timestamptz[], %(after_batches)s::bigint[], %(boundaries)s::timestamptz[])
        as g (subject_id, segment_start, after_batch, boundary)
),
whole as (
    select p.batch_id, p.subject_id, p.segment_start, p.segment_end, sum(p.quantity)::bigint as quantity, sum(p.events)::bigint as events,
        min(p.oldest_event_time) as oldest, max(p.newest_event_time) as newest
    from (select distinct e.subject_id, e.segment_start, e.after_batch, min(e.boundary) over (partition by e.subject_id, e.segment_start) as first from edge e) e
    join ledger.posting p
        on p.subject_id = e.subject_id and p.segment_start = e.segment_start and p.from_account in (1, 3) and p.to_account = 2
        and p.batch_id > e.after_batch and p.batch_id <= %(through)s and p.segment_end > e.first and p.events > 0
    join ledger.batch b on b.batch_id = p.batch_id and b.kind in ('capture', 'split', 'settlement')
    where not exists (
        select from ledger.division d
        where d.subject_id = p.subject_id and d.segment_start = p.segment_start and d.segment_end = p.segment_end
            and d.divided_batch_id = p.batch_id
    )
    group by p.batch_id, p.subject_id, p.segment_start, p.segment_end
),
held as (
    select
        w.batch_id as whole_batch, w.segment_start as whole_start, w.segment_end as whole_end, w.subject_id,
        w.batch_id, w.segment_start, w.segment_end, '-infinity'::timestamptz as from_time, 'infinity'::timestamptz as to_time
    from whole w
    union
    select
        h.whole_batch, h.whole_start, h.whole_end, h.subject_id, n.batch_id, n.segment_start, n.segment_end,
        greatest(h.from_time, n.from_time), least(h.to_time, n.to_time)
    from held h
    cross join lateral (
        select d.divided_batch_id as batch_id, d.segment_start, d.segment_end, h.segment_start as from_time, h.segment_end as to_time
        from ledger.division d
        where d.batch_id = h.batch_id and d.subject_id = h.subject_id and d.segment_start <= h.segment_start and d.segment_end > h.segment_start
        union all
        select q.batch_id, q.segment_start, q.segment_end, '-infinity', 'infinity'
        from ledger.posting r
        join ledger.intent i on i.intent_id = r.intent_id
        join ledger.posting q
            on q.subject_id = i.subject_id and q.segment_start = i.segment_start and q.to_account = 2 and q.events > 0
            and q.batch_id > i.after_batch and q.batch_id <= i.through_batch
        where r.batch_id = h.batch_id and r.subject_id = h.subject_id and r.segment_start = h.segment_start
            and r.segment_end = h.segment_end and r.from_account = 3 and r.to_account = 2
            and not exists (
                select from ledger.division d
                where d.subject_id = q.subject_id and d.segment_start = q.segment_start and d.segment_end = q.segment_end
                    and d.divided_batch_id = q.batch_id and d.batch_id <= i.through_batch
            )
    ) n
),
event as materialized (
    select
        h.subject_id, h.whole_start, h.whole_end, d.event_time, d.billable_quantity,
        coalesce((select max(x.boundary) from edge x where x.subject_id = h.subject_id and x.segment_start = h.whole_start
            and x.boundary <= d.event_time), h.whole_start) as part_start,
        coalesce((select min(x.boundary) from edge x where x.subject_id = h.subject_id and x.segment_start = h.whole_start
            and x.boundary > d.event_time), h.whole_end) as part_end
    from held h
    join derived.event_destination d
        on d.batch_id = h.batch_id and d.subject_id = h.subject_id and d.segment_start = h.segment_start and d.segment_end = h.segment_end
        and d.to_account = 2 and d.event_time >= h.from_time and d.event_time < h.to_time
),
part as (
    select e.subject_id, e.part_start, least(e.part_end, e.whole_end) as part_end, sum(e.billable_quantity)::bigint as quantity,
        count(*) as events, min(e.event_time) as oldest, max(e.event_time) as newest
    from event e
    group by e.subject_id, e.part_start, least(e.part_end, e.whole_end)
),
posted as (
    insert into ledger.posting (
        batch_id, subject_id, segment_start, segment_end, from_account, to_account, quantity, events, oldest_event_time, newest_event_time
    )
    select %(batch_id)s, w.subject_id, w.segment_start, w.segment_end, 1, 2, -w.quantity, -w.events, w.oldest, w.newest from whole w
    union all
    select %(batch_id)s, p.subject_id, p.part_start, p.part_end, 1, 2, p.quantity, p.events, p.oldest, p.newest from part p
),
noted as (
    insert into ledger.division (batch_id, subject_id, segment_start, segment_end, divided_batch_id)
    select %(batch_id)s, w.subject_id, w.segment_start, w.segment_end, w.batch_id from whole w
),
gone as (
    -- The next cut finds them again, with the parts.
    delete from ops.uncovered_segment u using edge e where u.subject_id = e.subject_id and u.segment_start = e.segment_start
)
select
    (select coalesce(sum(w.quantity), 0) from whole w), (select coalesce(sum(w.events), 0)::bigint from whole w),
    (select coalesce(sum(p.quantity), 0) from part p), (select coalesce(sum(p.events), 0)::bigint from part p);

-- name: expiring
-- Lanes with intents that no call was made for, or whose calls surely did not arrive, and whose deadline has passed.
select distinct o.lane_id from ops.open_intent o
where o.deadline <= ops.now() and o.risk_since is null and not o.settling
order by o.lane_id
limit %(most)s;

-- name: expire
-- Under the locks of their lanes. What misses its deadline goes to a person, by a posting.
with due as (
    delete from ops.open_intent o
    where o.lane_id = any(%(lane_ids)s) and o.deadline <= ops.now() and o.risk_since is null and not o.settling
    returning o.intent_id
),
decided as (
    insert into ledger.outcome (intent_id, class, final, may_have_arrived, message, posted, batch_id, recorded_at)
    select d.intent_id, 'expired', true, false, 'the deadline passed before it was sent', true, %(batch_id)s, ops.now() from due d
),
posted as (
    insert into ledger.posting (
        batch_id, subject_id, segment_start, segment_end, from_account, to_account, quantity, events, oldest_event_time, newest_event_time,
        intent_id
    )
    select %(batch_id)s, p.subject_id, p.segment_start, p.segment_end, 3, 8, p.quantity, p.events, p.oldest_event_time, p.newest_event_time,
        p.intent_id
    from due d
    join ledger.intent i on i.intent_id = d.intent_id
    join ledger.posting p
        on p.subject_id = i.subject_id and p.segment_start = i.segment_start and p.intent_id = i.intent_id
        and p.from_account = 2 and p.to_account = 3
)
select count(*) from due;
