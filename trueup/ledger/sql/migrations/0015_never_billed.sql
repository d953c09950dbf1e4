-- Customers who are never billed through Stripe, and what of their usage was moved out of unsent because of it.

-- Said once, for ever: there is nothing that takes it back, and such a customer is never mapped.
create table ledger.never_billed_customer (
    never_billed_id bigint generated always as identity primary key,
    customer text not null unique,
    reason text not null,
    recorded_by text not null,
    recorded_at timestamptz not null
);

-- What an intent is to usage that is sent, this is to usage that never will be: it covers the segment's postings to unsent with
-- after_batch < batch_id <= through_batch, once.
create table ledger.waived_segment (
    waived_segment_id bigint generated always as identity primary key,
    subject_id bigint not null,
    segment_start timestamptz not null,
    after_batch bigint not null,
    through_batch bigint not null,
    cut_id bigint not null references ledger.cut,
    quantity numeric not null,                 -- smallest unit; equals its postings, whose sum may be beyond 64 bits
    events bigint not null,
    batch_id bigint not null,                  -- of its postings unsent -> waived
    unique (subject_id, segment_start, after_batch)
);

-- Rooms stand still while a ledger is migrated, and no row breaks a rule that only grows: there is nothing to wait for.
-- squawk-ignore ban-drop-constraint
alter table ledger.batch drop constraint batch_kind_check;
-- squawk-ignore constraint-missing-not-valid
alter table ledger.batch add constraint batch_kind_check
check (kind in ('capture', 'intent', 'outcome', 'settlement', 'split', 'correction', 'invoice', 'waiver'));
-- squawk-ignore ban-drop-constraint
alter table ops.uncovered_segment drop constraint uncovered_segment_waits_for_check;
-- squawk-ignore constraint-missing-not-valid
alter table ops.uncovered_segment add constraint uncovered_segment_waits_for_check
check (waits_for in ('unmapped', 'no_plan', 'no_event_name', 'disarmed', 'too_large', 'never_billed'));

-- Work for the cutter, who asks many times a second.
-- squawk-ignore require-concurrent-index-creation
create index uncovered_never_billed on ops.uncovered_segment (subject_id, segment_start) where waits_for = 'never_billed';

create or replace function ledger.facts() returns table (fact text, fact_id text, content_sha256 bytea)
language sql stable set search_path = pg_catalog set timezone = 'UTC' set bytea_output = 'hex' as $$
select f.fact, ledger.fact_key(f.content, f.columns), ledger.fact_hash(f.content)
from (
    select 'customer_mapping' as fact, array['mapping_id'] as columns, to_jsonb(t) as content from ledger.customer_mapping t
    union all
    select 'never_billed_customer', array['never_billed_id'], to_jsonb(t) from ledger.never_billed_customer t
    union all
    select 'plan_fact', array['plan_fact_id'], to_jsonb(t) from ledger.plan_fact t
    union all
    select 'lane', array['lane_id'], to_jsonb(t) from ledger.lane t
    union all
    select 'arming', array['arming_id'], to_jsonb(t) from ledger.arming t
    union all
    select 'billing_period', array['period_id'], to_jsonb(t) from ledger.billing_period t
    union all
    select 'period_event', array['period_event_id'], to_jsonb(t) from ledger.period_event t
    union all
    select 'conflict', array['source_partition', 'source_offset'], to_jsonb(t) from ledger.conflict t
    union all
    select 'refusal', array['source_partition', 'source_offset'], to_jsonb(t) from ledger.refusal t
) f
$$;

create trigger seal_fact after insert on ledger.never_billed_customer for each row execute function ledger.seal_fact('never_billed_id');
