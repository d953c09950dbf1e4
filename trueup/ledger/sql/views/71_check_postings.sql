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

-- What took usage out of unsent, segment by segment: intents, and waivers of who is never billed.
create view derived.coverage as
select i.subject_id, i.segment_start, i.after_batch, i.through_batch from ledger.intent i
union all
select w.subject_id, w.segment_start, w.after_batch, w.through_batch from ledger.waived_segment w;

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
        from derived.coverage i
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

-- A text as it stands in an intent's body: JSON of printable ASCII only, as trueup's own canonical form writes it.
create function derived.canonical_json_text(content text) returns text language sql stable set search_path = pg_catalog as $$
select string_agg(
    case
        when ascii(c.letter) between 32 and 126 then c.letter
        when ascii(c.letter) < 65536 then '\u' || lpad(to_hex(ascii(c.letter)), 4, '0')
        else '\u' || to_hex(55296 + (ascii(c.letter) - 65536) / 1024) || '\u' || to_hex(56320 + (ascii(c.letter) - 65536) % 1024)
    end, '' order by c.place
)
from string_to_table(to_json(content)::text, null) with ordinality as c (letter, place)
$$;

-- What each intent must have sent, made anew from its own columns and its lane, and the hash of that as dispatch makes it.
create view derived.intent_body as
with lane as materialized (
    -- There are few lanes, and writing a text letter by letter is slow.
    select
        l.lane_id, l.stripe_customer, l.stripe_event_name,
        derived.canonical_json_text(l.stripe_customer) as customer_text,
        derived.canonical_json_text(l.stripe_event_name) as event_name_text
    from ledger.lane l
)
select
    i.intent_id,
    jsonb_build_object(
        'event_name', l.stripe_event_name, 'identifier', i.identifier,
        'payload', jsonb_build_object('stripe_customer_id', l.stripe_customer, 'value', v.value),
        'timestamp', v.seconds
    ) as body,
    encode(sha256(convert_to(
        '{"event_name":' || l.event_name_text || ',"identifier":'
        -- Ours are plain: only another hand's would need the slow way.
        || case when i.identifier ~ '^[0-9a-z-]*$' then '"' || i.identifier || '"' else derived.canonical_json_text(i.identifier) end
        || ',"payload":{"stripe_customer_id":' || l.customer_text || ',"value":"' || v.value || '"},"timestamp":' || v.seconds || '}',
        'UTF8'
    )), 'hex') as body_sha256
from ledger.intent i
join lane l on l.lane_id = i.lane_id
join derived.subject s on s.subject_id = i.subject_id
-- Offset 0 keeps the planner from writing the conversion out wherever its result is used.
cross join lateral (
    select ops.in_unit(i.quantity, s.scale)::text as value, extract(epoch from i.stripe_timestamp)::bigint as seconds offset 0
) v;

-- What was waived of who is never billed, where it is not exactly the postings it covers or not theirs; and such customers who are
-- somebody at Stripe all the same.
create view derived.waiver_fault as
select 'a waiver is not what it covers' as what, w.subject_id
from (
    select
        w.*, c.through_batch as cut_through,
        lag(w.through_batch, 1, 0::bigint) over (partition by w.subject_id, w.segment_start order by w.after_batch) as previous
    from ledger.waived_segment w
    left join ledger.cut c on c.cut_id = w.cut_id
) w
cross join lateral (
    select coalesce(sum(p.quantity), 0) as quantity, coalesce(sum(p.events), 0) as events
    from ledger.posting p
    where p.subject_id = w.subject_id and p.segment_start = w.segment_start and p.to_account = 2
        and p.batch_id > w.after_batch and p.batch_id <= w.through_batch
) p
cross join lateral (
    select coalesce(sum(m.quantity), 0) as quantity, coalesce(sum(m.events), 0) as events
    from ledger.posting m
    where m.subject_id = w.subject_id and m.segment_start = w.segment_start and m.batch_id = w.batch_id
        and m.from_account = 2 and m.to_account = 10
) m
where w.after_batch <> w.previous or w.through_batch <= w.after_batch or w.through_batch > coalesce(w.cut_through, 0)
    or (w.quantity, w.events) is distinct from (p.quantity, p.events) or (w.quantity, w.events) is distinct from (m.quantity, m.events)
union all
select 'nobody said that it is never billed', w.subject_id
from ledger.waived_segment w
join ledger.subject s on s.subject_id = w.subject_id
where not exists (select from ledger.never_billed_customer n where n.customer = s.customer)
union all
select 'unsent was waived without a word', p.subject_id
from ledger.posting p
where p.from_account = 2 and p.to_account = 10 and not exists (
    select from ledger.waived_segment w
    where w.batch_id = p.batch_id and w.subject_id = p.subject_id and w.segment_start = p.segment_start
)
union all
select 'never billed and mapped', null
from ledger.never_billed_customer n
join ledger.customer_mapping m on m.customer = n.customer
union all
select 'never billed and sent', s.subject_id
from ledger.never_billed_customer n
join ledger.subject s on s.customer = n.customer
where exists (select from ledger.intent i where i.subject_id = s.subject_id);

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
        i.body is distinct from b.body or i.body_sha256 is distinct from b.body_sha256 as says_something_else,
        coalesce(p.quantity, 0) as covered_quantity,
        coalesce(p.events, 0) as covered_events,
        coalesce(f.quantity, 0) as moved_quantity,
        coalesce(f.events, 0) as moved_events,
        coalesce(f.postings, 0) as moves
    from ledger.intent i
    join ledger.cut c on c.cut_id = i.cut_id
    left join derived.intent_body b on b.intent_id = i.intent_id
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
), last_cut as (
    select i.subject_id, i.segment_start, max(i.through_batch) as through_batch
    from derived.coverage i
    group by i.subject_id, i.segment_start
), forgotten as (
    -- Looked through, covered by no intent or waiver and waiting for none: nothing would ever send it. A segment that was posted to since is
    -- found again by the next cut, and what was taken back whole needs no intent.
    select p.subject_id, p.segment_start
    from ledger.posting p
    cross join ops.dispatch_progress g
    left join last_cut c on c.subject_id = p.subject_id and c.segment_start = p.segment_start
    where p.to_account = 2 and p.batch_id > coalesce(c.through_batch, 0)
        and not exists (
            select from ops.uncovered_segment u where u.subject_id = p.subject_id and u.segment_start = p.segment_start
        )
    group by p.subject_id, p.segment_start
    having max(p.batch_id) <= max(g.discovered_through) and (sum(p.events) <> 0 or sum(p.quantity) <> 0)
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
            or c.says_something_else
    ) + (select stray.postings from stray) + (select count(*) from forgotten) + (select count(*) from derived.waiver_fault) as violations,
    0::bigint as stale,
    0::bigint as pending,
    null::timestamptz as oldest_pending_at,
    null::bigint as pending_limit_seconds,
    (select max(c.recorded_at) from ledger.cut c) as basis_as_of,
    exists (select from ledger.posting p where p.to_account = 3) as required,
    'Each posting to unsent up to a segment''s last cut is covered by exactly one intent, each later one up to the last cut that was looked through waits for its own, and each intent''s stored quantity, count, posting, body and hash are those of its lane and of the postings it covers. Of who is never billed nothing is in an intent, and what was waived is exactly what had waited.' as meaning
from covered c;
