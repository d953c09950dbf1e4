-- Deep checks: the books made again from what they rest on.

create view derived.check_totals_rebuilt_from_events as
with shadowed as (
    -- Usage from before billing began: late or not, it is only looked at.
    select distinct p.batch_id, p.subject_id, p.segment_start
    from ledger.posting p
    where p.from_account = 1 and p.to_account = 12
), rebuilt as (
    select
        e.batch_id,
        e.subject_id,
        e.segment_start,
        e.segment_end,
        case when s.batch_id is not null then 12 else e.to_account end as to_account,
        sum(e.billable_quantity) as quantity,
        count(*) as events
    from derived.event_destination e
    left join shadowed s on s.batch_id = e.batch_id and s.subject_id = e.subject_id and s.segment_start = e.segment_start
    group by e.batch_id, e.subject_id, e.segment_start, e.segment_end, case when s.batch_id is not null then 12 else e.to_account end
), posted as (
    select p.batch_id, p.subject_id, p.segment_start, p.segment_end, p.to_account, sum(p.quantity) as quantity, sum(p.events) as events
    from ledger.posting p
    left join ledger.batch b on b.batch_id = p.batch_id
    -- A division takes away and gives again; its sums are looked at by hour.
    where p.from_account = 1 and b.kind is distinct from 'split'
    group by p.batch_id, p.subject_id, p.segment_start, p.segment_end, p.to_account
), misnamed as (
    -- The event rows say whose usage it is; what is sent and billed goes by the subject's number.
    select count(*) as events
    from ledger.event e
    left join ledger.subject s on s.subject_id = e.subject_id
    where (e.customer, e.meter) is distinct from (s.customer, s.meter)
)
select
    'totals_rebuilt_from_events' as check_name,
    count(*) as evaluated,
    count(*) filter (
        where r.batch_id is null or p.batch_id is null or r.quantity <> p.quantity or r.events <> p.events or p.to_account not in (2, 8, 10, 12)
    ) + (select misnamed.events from misnamed) as violations,
    0::bigint as stale,
    0::bigint as pending,
    null::timestamptz as oldest_pending_at,
    null::bigint as pending_limit_seconds,
    (select max(b.recorded_at) from ledger.batch b) as basis_as_of,
    exists (select from ledger.source_batch s where s.accepted_events > 0) as required,
    'Adding up the event rows of each batch, segment and destination gives what was posted for them, and each stands under its own customer and meter.' as meaning
from rebuilt r
full join posted p
    on p.batch_id = r.batch_id and p.subject_id = r.subject_id and p.segment_start = r.segment_start and p.segment_end = r.segment_end
    and p.to_account = r.to_account;

create view derived.check_postings_rebuilt_digest as
with shadowed as (
    select distinct p.batch_id, p.subject_id, p.segment_start
    from ledger.posting p
    where p.from_account = 1 and p.to_account = 12
), cut as (
    -- What each intent took, from the postings it covers.
    select
        i.intent_id, i.batch_id, i.subject_id, i.segment_start, i.segment_end,
        sum(p.quantity) as quantity, sum(p.events) as events,
        -- Of a posting that was divided, only the part that was left dates the intent.
        min(p.oldest_event_time) filter (where p.segment_end = i.segment_end) as oldest,
        max(p.newest_event_time) filter (where p.segment_end = i.segment_end) as newest
    from ledger.intent i
    join ledger.posting p
        on p.subject_id = i.subject_id and p.segment_start = i.segment_start and p.to_account = 2
        and p.batch_id > i.after_batch and p.batch_id <= i.through_batch
    group by i.intent_id, i.batch_id, i.subject_id, i.segment_start, i.segment_end
), expected (
    batch_id, subject_id, segment_start, segment_end, from_account, to_account, quantity, events, oldest, newest, intent_id
) as (
    select
        e.batch_id, e.subject_id, e.segment_start, e.segment_end, 1,
        case when s.batch_id is not null then 12 else e.to_account end,
        sum(e.billable_quantity), count(*), min(e.event_time), max(e.event_time), null::bigint
    from derived.event_destination e
    left join shadowed s on s.batch_id = e.batch_id and s.subject_id = e.subject_id and s.segment_start = e.segment_start
    group by e.batch_id, e.subject_id, e.segment_start, e.segment_end, case when s.batch_id is not null then 12 else e.to_account end
    union all
    select c.batch_id, c.subject_id, c.segment_start, c.segment_end, 2, 3, c.quantity, c.events, c.oldest, c.newest, c.intent_id
    from cut c
    union all
    select p.waiver_id, p.subject_id, p.segment_start, p.segment_end, 2, 10, sum(p.quantity), sum(p.events), min(p.oldest_event_time),
        max(p.newest_event_time), null
    from (
        select w.batch_id as waiver_id, q.*
        from ledger.waived_segment w
        join ledger.posting q
            on q.subject_id = w.subject_id and q.segment_start = w.segment_start and q.to_account = 2
            and q.batch_id > w.after_batch and q.batch_id <= w.through_batch
    ) p
    group by p.waiver_id, p.subject_id, p.segment_start, p.segment_end
    union all
    select
        o.batch_id, c.subject_id, c.segment_start, c.segment_end, 3,
        case
            when o.class = 'reject' then 7 when o.class = 'expired' then 8 when o.class = 'settled' and not o.may_have_arrived then 2 else 4
        end,
        c.quantity, c.events, c.oldest, c.newest, c.intent_id
    from ledger.outcome o
    join cut c on c.intent_id = o.intent_id
    where o.final
    union all
    select
        p.batch_id, c.subject_id, c.segment_start, c.segment_end, 4, t.to_account,
        case t.to_account when 5 then a.quantity_invoiced else a.quantity_missed end,
        case t.to_account when 5 then a.events_invoiced else a.events_missed end,
        c.oldest, c.newest, c.intent_id
    from ledger.invoice_posting p
    join ledger.invoice_allocation a on a.invoice_posting_id = p.invoice_posting_id
    join cut c on c.intent_id = a.intent_id
    cross join (values (5), (6)) as t (to_account)
    where (t.to_account = 5 and (a.quantity_invoiced <> 0 or a.events_invoiced <> 0))
        or (t.to_account = 6 and (a.quantity_missed <> 0 or a.events_missed <> 0))
), rebuilt as (
    select x.batch_id, encode(sha256(convert_to(string_agg(x.line, E'\n' order by x.line collate "C"), 'UTF8')), 'hex') as digest
    from (
        select
            e.batch_id,
            concat_ws(',', e.subject_id, extract(epoch from e.segment_start), extract(epoch from e.segment_end), e.from_account,
                e.to_account, e.quantity, e.events, extract(epoch from e.oldest), extract(epoch from e.newest), e.intent_id) as line
        from expected e
    ) x
    group by x.batch_id
), stored as (
    select x.batch_id, encode(sha256(convert_to(string_agg(x.line, E'\n' order by x.line collate "C"), 'UTF8')), 'hex') as digest
    from (
        select
            p.batch_id,
            concat_ws(',', p.subject_id, extract(epoch from p.segment_start), extract(epoch from p.segment_end), p.from_account,
                p.to_account, sum(p.quantity), sum(p.events), extract(epoch from min(p.oldest_event_time)),
                extract(epoch from max(p.newest_event_time)), p.intent_id) as line
        from ledger.posting p
        left join ledger.batch b on b.batch_id = p.batch_id
        where b.kind is distinct from 'split'
        -- Capture posts a sum that 64 bits do not hold in several rows.
        group by p.batch_id, p.subject_id, p.segment_start, p.segment_end, p.from_account, p.to_account, p.intent_id
    ) x
    group by x.batch_id
)
select
    'postings_rebuilt_digest' as check_name,
    count(*) as evaluated,
    count(*) filter (where r.digest is distinct from s.digest) as violations,
    0::bigint as stale,
    0::bigint as pending,
    null::timestamptz as oldest_pending_at,
    null::bigint as pending_limit_seconds,
    (select max(b.recorded_at) from ledger.batch b) as basis_as_of,
    exists (select from ledger.source_batch s where s.accepted_events > 0) as required,
    'Per batch, the digest of all postings made anew from events, intents and outcomes is that of the postings that stand there.' as meaning
from rebuilt r
full join stored s on s.batch_id = r.batch_id;
