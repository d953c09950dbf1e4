-- Checks of the postings: nothing appears, nothing vanishes, nothing is given twice.

create view derived.check_accounts_zero_sum as
with counted as (
    -- By hour: a segment may be divided after its events were recorded, an hour's sum stays.
    select e.subject_id, date_trunc('hour', e.segment_start, 'UTC') as hour, sum(e.billable_quantity) as quantity, count(*) as events
    from ledger.event e
    group by e.subject_id, date_trunc('hour', e.segment_start, 'UTC')
), legs as (
    select p.subject_id, p.segment_start, p.to_account as account_id, p.quantity, p.events from ledger.posting p
    union all
    select p.subject_id, p.segment_start, p.from_account, -p.quantity, -p.events from ledger.posting p
), standing as (
    select
        l.subject_id,
        date_trunc('hour', l.segment_start, 'UTC') as hour,
        -sum(l.quantity) filter (where a.name = 'usage') as left_usage_quantity,
        -sum(l.events) filter (where a.name = 'usage') as left_usage_events,
        sum(l.quantity) filter (where a.name <> 'usage') as elsewhere_quantity,
        sum(l.events) filter (where a.name <> 'usage') as elsewhere_events
    from legs l
    join ledger.account a on a.account_id = l.account_id
    group by l.subject_id, date_trunc('hour', l.segment_start, 'UTC')
)
select
    'accounts_zero_sum' as check_name,
    count(*) as evaluated,
    count(*) filter (
        where coalesce(c.quantity, 0) <> coalesce(s.left_usage_quantity, 0)
            or coalesce(c.events, 0) <> coalesce(s.left_usage_events, 0)
            or coalesce(s.elsewhere_quantity, 0) <> coalesce(s.left_usage_quantity, 0)
            or coalesce(s.elsewhere_events, 0) <> coalesce(s.left_usage_events, 0)
    ) as violations,
    0::bigint as stale,
    0::bigint as pending,
    null::timestamptz as oldest_pending_at,
    null::bigint as pending_limit_seconds,
    (select max(b.recorded_at) from ledger.batch b) as basis_as_of,
    exists (select from ledger.source_batch s where s.accepted_events > 0) as required,
    'Per customer, meter and hour: event rows = what left account usage = what stands in all other accounts, in quantity and in events.' as meaning
from counted c
full join standing s on s.subject_id = c.subject_id and s.hour = c.hour;

create view derived.check_no_negative_holding as
with flight as (
    select
        p.intent_id,
        sum(p.quantity) filter (where p.to_account = 3) as received,
        sum(p.quantity) filter (where p.from_account = 3) as given,
        sum(p.events) filter (where p.to_account = 3) as events_received,
        sum(p.events) filter (where p.from_account = 3) as events_given
    from ledger.posting p
    where 3 in (p.from_account, p.to_account)
    group by p.intent_id
), unsent as (
    -- What came to unsent after the last cut of a segment is no cover for what left it before.
    select
        p.subject_id,
        p.segment_start,
        sum(p.quantity) filter (where p.to_account = 2 and p.batch_id <= c.through_batch) as received,
        sum(p.quantity) filter (where p.from_account = 2) as given,
        sum(p.events) filter (where p.to_account = 2 and p.batch_id <= c.through_batch) as events_received,
        sum(p.events) filter (where p.from_account = 2) as events_given
    from ledger.posting p
    left join (
        select i.subject_id, i.segment_start, max(i.through_batch) as through_batch
        from ledger.intent i
        group by i.subject_id, i.segment_start
    ) c on c.subject_id = p.subject_id and c.segment_start = p.segment_start
    where 2 in (p.from_account, p.to_account)
    group by p.subject_id, p.segment_start
), ending as (
    select
        p.subject_id,
        p.segment_start,
        a.account_id,
        sum(p.quantity) filter (where p.to_account = a.account_id) as received,
        sum(p.quantity) filter (where p.from_account = a.account_id) as given,
        sum(p.events) filter (where p.to_account = a.account_id) as events_received,
        sum(p.events) filter (where p.from_account = a.account_id) as events_given
    from ledger.posting p
    join ledger.account a on a.account_id in (p.from_account, p.to_account)
    where a.account_id > 3
    group by p.subject_id, p.segment_start, a.account_id
), holding as (
    select f.received, f.given, f.events_received, f.events_given from flight f
    union all
    select u.received, u.given, u.events_received, u.events_given from unsent u
    union all
    select e.received, e.given, e.events_received, e.events_given from ending e
), filled as (
    select
        coalesce(h.received, 0) as received,
        coalesce(h.given, 0) as given,
        coalesce(h.events_received, 0) as events_received,
        coalesce(h.events_given, 0) as events_given
    from holding h
)
select
    'no_negative_holding' as check_name,
    count(*) as evaluated,
    count(*) filter (
        where f.given not between least(f.received, 0) and greatest(f.received, 0)
            or f.events_given not between least(f.events_received, 0) and greatest(f.events_received, 0)
    ) as violations,
    0::bigint as stale,
    0::bigint as pending,
    null::timestamptz as oldest_pending_at,
    null::bigint as pending_limit_seconds,
    (select max(b.recorded_at) from ledger.batch b) as basis_as_of,
    exists (select from ledger.intent) as required,
    'No intent, and no segment in any account, gave more than it received, in the sign in which it received it.' as meaning
from filled f;

create view derived.check_intent_covers_postings_once as
with covered as (
    select
        i.intent_id,
        i.batch_id,
        i.quantity,
        i.events,
        i.through_batch - c.through_batch as beyond_cut,
        i.after_batch <> lag(i.through_batch, 1, 0::bigint) over (partition by i.subject_id, i.segment_start order by i.after_batch)
            or i.through_batch <= i.after_batch as misplaced,
        i.body #>> '{payload,value}' as sent_value,
        s.scale,
        coalesce(p.quantity, 0) as covered_quantity,
        coalesce(p.events, 0) as covered_events,
        coalesce(f.quantity, 0) as moved_quantity,
        coalesce(f.events, 0) as moved_events,
        coalesce(f.postings, 0) as moves
    from ledger.intent i
    join ledger.cut c on c.cut_id = i.cut_id
    join derived.subject s on s.subject_id = i.subject_id
    left join lateral (
        select sum(p.quantity) as quantity, sum(p.events) as events
        from ledger.posting p
        where p.subject_id = i.subject_id and p.segment_start = i.segment_start and p.to_account = 2
            and p.batch_id > i.after_batch and p.batch_id <= i.through_batch
    ) p on true
    left join lateral (
        select sum(p.quantity) as quantity, sum(p.events) as events, count(*) as postings
        from ledger.posting p
        where p.subject_id = i.subject_id and p.segment_start = i.segment_start and p.intent_id = i.intent_id
            and p.from_account = 2 and p.to_account = 3
    ) f on true
), stray as (
    -- Taken from unsent without an intent that says why.
    select count(*) as postings
    from ledger.posting p
    where p.from_account = 2 and p.to_account = 3
        and not exists (
            select from ledger.intent i
            where i.intent_id = p.intent_id and i.subject_id = p.subject_id and i.segment_start = p.segment_start
        )
)
select
    'intent_covers_postings_once' as check_name,
    count(*) as evaluated,
    count(*) filter (
        where c.misplaced
            or c.beyond_cut > 0
            or c.quantity <> c.covered_quantity
            or c.events <> c.covered_events
            or c.moves <> 1
            or c.quantity <> c.moved_quantity
            or c.events <> c.moved_events
            or c.sent_value is distinct from ops.in_unit(c.quantity, c.scale)::text
    ) + (select stray.postings from stray) as violations,
    0::bigint as stale,
    0::bigint as pending,
    null::timestamptz as oldest_pending_at,
    null::bigint as pending_limit_seconds,
    (select max(c.recorded_at) from ledger.cut c) as basis_as_of,
    exists (select from ledger.posting p where p.to_account = 3) as required,
    'Each posting to unsent up to a segment''s last cut is covered by exactly one intent, and each intent''s stored quantity, count, posting and body are those of the postings it covers.' as meaning
from covered c;
