-- Checks of dispatch: what may follow what, and until when.

create view derived.check_outcome_state_machine as
with outcomes as (
    select
        o.intent_id,
        count(*) filter (where o.final) as finals,
        count(*) filter (
            -- What an outcome may be: only these end an intent, and only under the lease that was in force.
            where (o.final and (o.class not in ('ack', 'ack_duplicate', 'reject', 'zero', 'settled', 'expired') or not o.posted or o.batch_id is null))
                or (not o.final and o.posted and o.class in ('ack', 'ack_duplicate', 'reject', 'zero', 'settled', 'expired'))
                or (o.attempt_id is null) <> (o.class in ('zero', 'settled', 'expired'))
                or (o.attempt_id is not null and a.intent_id is distinct from o.intent_id)
        ) as impossible,
        max(o.batch_id) filter (where o.final) as final_batch_id,
        max(o.class) filter (where o.final) as final_class,
        bool_or(o.may_have_arrived) filter (where o.final) as landed,
        max(o.recorded_at) filter (where o.final) as final_at
    from ledger.outcome o
    left join ledger.attempt a on a.attempt_id = o.attempt_id
    group by o.intent_id
), attempts as (
    select a.intent_id, count(*) as attempts, max(a.number) as highest, min(a.started_at) as first_at, max(a.started_at) as last_at
    from ledger.attempt a
    group by a.intent_id
), leaving as (
    -- What left in_flight for an intent: in one batch, the final outcome's, to the account its class names.
    select
        p.intent_id,
        min(p.batch_id) as first_batch_id,
        max(p.batch_id) as last_batch_id,
        sum(p.quantity) as quantity,
        bool_or(p.to_account = 4) as acknowledged,
        bool_or(p.to_account = 7) as rejected,
        bool_or(p.to_account = 8) as in_review,
        bool_or(p.to_account <> 2) as kept,
        bool_or(p.to_account not in (4, 7)) as elsewhere
    from ledger.posting p
    where p.from_account = 3
    group by p.intent_id
), judged as (
    select
        i.intent_id,
        i.quantity,
        a.first_at,
        o.finals,
        coalesce(o.finals, 0) > 1
        or coalesce(o.impossible, 0) > 0
        or coalesce(a.highest <> a.attempts, false)
        or coalesce(a.last_at > o.final_at, false)
        or (o.final_class = 'zero' and (i.quantity <> 0 or a.attempts is not null))
        or (coalesce(o.finals, 0) = 0 and l.intent_id is not null)
        or (o.finals = 1 and i.quantity <> 0 and coalesce(l.quantity, 0) <> i.quantity)
        or coalesce(l.first_batch_id <> o.final_batch_id or l.last_batch_id <> o.final_batch_id, false)
        or (o.final_class in ('ack', 'ack_duplicate') and (l.rejected or l.elsewhere))
        or (o.final_class = 'reject' and (l.acknowledged or l.elsewhere))
        -- Settled by reading: it had landed, or it is to be sent again.
        or (o.final_class = 'settled' and case when o.landed then l.rejected or l.elsewhere else l.kept end)
        or coalesce(l.in_review <> (o.final_class = 'expired'), false)
        or (o.final_class = 'expired' and (l.acknowledged or l.rejected))
        -- Exactly what has no end is the lanes' work: what they do not know of would never be sent or settled.
        or (coalesce(o.finals, 0) = 0) <> (w.intent_id is not null) as wrong
    from ledger.intent i
    left join ops.open_intent w on w.intent_id = i.intent_id
    left join outcomes o on o.intent_id = i.intent_id
    left join attempts a on a.intent_id = i.intent_id
    left join leaving l on l.intent_id = i.intent_id
)
select
    'outcome_state_machine' as check_name,
    count(*) as evaluated,
    count(*) filter (where j.wrong) as violations,
    0::bigint as stale,
    count(*) filter (where not coalesce(j.wrong, false) and coalesce(j.finals, 0) = 0 and j.first_at is not null) as pending,
    min(j.first_at) filter (where not coalesce(j.wrong, false) and coalesce(j.finals, 0) = 0) as oldest_pending_at,
    -- 20 h until sending stops, 2 h until summaries have settled, two reads, and a person's day.
    172800::bigint as pending_limit_seconds,
    (select max(o.recorded_at) from ledger.outcome o) as basis_as_of,
    exists (select from ledger.posting p where p.from_account = 3) as required,
    'Each intent: numbered attempts, at most one final outcome, nothing after it, out of in_flight goes exactly what that outcome allows, in its own batch, and the lanes'' work is exactly the intents without one.' as meaning
from judged j;

create view derived.check_nothing_past_horizon as
with attempts as (
    select
        a.intent_id,
        a.started_at,
        min(case when o.may_have_arrived is distinct from false then a.started_at end)
            over (partition by a.intent_id order by a.number rows between unbounded preceding and 1 preceding) as at_risk_since
    from ledger.attempt a
    left join (
        select o.attempt_id, bool_or(o.may_have_arrived) as may_have_arrived
        from ledger.outcome o
        where o.attempt_id is not null
        group by o.attempt_id
    ) o on o.attempt_id = a.attempt_id
)
select
    'nothing_past_horizon' as check_name,
    count(*) as evaluated,
    count(*) filter (
        where a.started_at > a.at_risk_since + interval '20 hours'
            or a.started_at > i.stripe_timestamp + derived.horizon_at(s.meter, a.started_at)
    ) as violations,
    0::bigint as stale,
    0::bigint as pending,
    null::timestamptz as oldest_pending_at,
    null::bigint as pending_limit_seconds,
    max(a.started_at) as basis_as_of,
    exists (select from ledger.attempt) as required,
    'No call was made more than 20 h after the first one for the same intent that may have arrived, nor for usage older than its meter''s horizon, as it was in force then.' as meaning
from attempts a
join ledger.intent i on i.intent_id = a.intent_id
join derived.subject s on s.subject_id = i.subject_id;

-- What a deadline allows: no call once it had passed, by what was known of the period then; and nothing left lying behind it.
create view derived.check_nothing_past_deadline as
with called as (
    select a.attempt_id, d.period_known, a.started_at >= d.deadline as too_late
    from ledger.attempt a
    join ledger.intent i on i.intent_id = a.intent_id
    join ledger.lane l on l.lane_id = i.lane_id
    join ledger.subject s on s.subject_id = i.subject_id
    cross join lateral (
        -- A grace or a margin that was changed since says nothing of a call before.
        select
            coalesce((
                select c.finalization_grace_seconds from ledger.catalogue_version c where c.recorded_at < a.started_at or c.version = 1
                order by c.version desc limit 1
            ), 86400) * interval '1 s' as grace,
            coalesce((
                select v.close_margin_seconds
                from ledger.meter_version v join ledger.catalogue_version c on c.version = v.version
                where v.meter = s.meter and (c.recorded_at < a.started_at or c.version = 1)
                order by v.version desc limit 1
            ), 600) * interval '1 s' as close_margin
    ) k
    cross join lateral (
        -- As it was known when the call was made; what was recorded in the same instant may have been learnt after it.
        select
            count(*) > 0 as period_known,
            min(coalesce(e.deadline, p.period_end + k.grace) - k.close_margin) as deadline
        from ledger.billing_period p
        left join lateral (
            select x.deadline from ledger.period_event x
            where x.subscription_item_id = p.subscription_item_id and x.period_start = p.period_start
                and x.deadline is not null and x.recorded_at < a.started_at
            order by x.period_event_id desc
            limit 1
        ) e on true
        where p.stripe_customer = l.stripe_customer and p.stripe_event_name = l.stripe_event_name
            and p.period_start <= i.segment_start and p.period_end > i.segment_start and p.recorded_at < a.started_at
            and not exists (
                select from ledger.billing_period n
                where n.subscription_item_id = p.subscription_item_id and n.period_start = p.period_start
                    and n.period_id > p.period_id and n.recorded_at < a.started_at
            )
    ) d
    -- An attempt is written before its deadline is asked for the last time: one that was then not made, or found no connection, is no call.
    where not exists (
        select from ledger.outcome o where o.attempt_id = a.attempt_id and not o.may_have_arrived and o.http_status is null
    )
), judged as (
    select c.too_late as violated, null::timestamptz as waits_since from called c where c.period_known
    union all
    select false, case when u.deadline <= ops.now() then u.deadline end from ops.uncovered_segment u where u.deadline is not null
    union all
    select false, case when o.deadline <= ops.now() then o.deadline end
    from ops.open_intent o
    where o.deadline is not null
)
select
    'nothing_past_deadline' as check_name,
    count(*) as evaluated,
    count(*) filter (where j.violated) as violations,
    0::bigint as stale,
    count(*) filter (where j.waits_since is not null) as pending,
    min(j.waits_since) as oldest_pending_at,
    -- What was never called is moved at once; what may have arrived is read twice after Stripe has settled.
    14400::bigint as pending_limit_seconds,
    (select max(a.started_at) from ledger.attempt a) as basis_as_of,
    exists (select from called c where c.period_known) as required,
    'No call was made for a period once its deadline had passed, as it was known then; and what misses its deadline is moved to in_review, settled by reading, or pages.' as meaning
from judged j;

create view derived.check_hours_equal_summaries as
with hour as (
    select
        h.*,
        h.touched_at as changed_at,
        coalesce((select r.read_age_seconds from ops.reconciliation r), 172800) * interval '1 second' as read_age,
        h.explanation in ('rejected', 'foreign_event', 'sent_twice', 'window_edge', 'unexplained') or not h.exact as wrong
    from derived.lane_hour_explained h
    where h.attempts > 0 or coalesce(h.stripe, 0) <> 0 or h.acknowledged <> 0
), judged_hour as (
    select
        h.*,
        not h.wrong and (
            -- Never read since the last answer, and that is longer ago than a round takes.
            (h.read_at is null or h.read_at < h.changed_at) and h.changed_at + h.read_age < ops.now()
            -- Stripe takes usage for 35 days back: until then somebody may still change the hour.
            or h.read_at + h.read_age < ops.now() and h.hour_start + interval '35 days' > ops.now()
        ) as stale
    from hour h
), judged as (
    select h.wrong, h.stale, h.explanation, h.read_at, h.changed_at, h.flying_since from judged_hour h
    union all
    -- Where nothing was ever sent Stripe should have nothing: what it has makes a lane, and an hour of it above.
    select false, coalesce(p.read_at, p.since) + coalesce((select r.read_age_seconds from ops.reconciliation r), 172800) * interval '1 second' < ops.now(),
        'agrees', p.read_at, p.since, null
    from derived.silent_pair p
)
select
    'hours_equal_summaries' as check_name,
    count(*) as evaluated,
    count(*) filter (where j.wrong) as violations,
    count(*) filter (where j.stale) as stale,
    count(*) filter (
        where not j.wrong and not coalesce(j.stale, false)
            and (j.explanation <> 'agrees' or j.read_at is null or j.read_at < j.changed_at)
    ) as pending,
    min(coalesce(j.flying_since, j.changed_at)) filter (
        where not j.wrong and not coalesce(j.stale, false)
            and (j.explanation <> 'agrees' or j.read_at is null or j.read_at < j.changed_at)
    ) as oldest_pending_at,
    172800::bigint as pending_limit_seconds,
    min(j.read_at) as basis_as_of,
    exists (select from ledger.posting p where p.to_account = 4) as required,
    'Per Stripe customer, Stripe meter and hour of the timestamp sent: what Stripe acknowledged = its summary, to the smallest unit; and nothing at Stripe for a customer and meter that nothing was sent for. A figure of more than 15 digits is no proof.' as meaning
from judged j;
