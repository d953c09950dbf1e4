-- The ledger's foundation: clock, deployment, catalogue, customers, events, postings, source accounting.
-- Runs as trueup_owner inside the transaction of trueup.ledger.migrate, which has made the schemas.

-- Dates come from here. A street with a simulated clock keeps one row in ops.simulated_clock; production has none.
create table ops.simulated_clock (
    only_row boolean primary key default true check (only_row),
    now timestamptz not null
);
-- It runs as its owner: readers of finance views ask it for the time without access to the table behind it.
create function ops.now() returns timestamptz language sql stable security definer
set search_path = pg_catalog
as $$ select coalesce((select c.now from ops.simulated_clock c), clock_timestamp()) $$;

create function ledger.refuse_change() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
    raise exception 'ledger.% is append-only: % is refused', tg_table_name, tg_op using errcode = 'restrict_violation';
end $$;

create table ledger.deployment (
    only_row boolean primary key default true check (only_row),
    stripe_account text not null,
    livemode boolean not null,
    recorded_at timestamptz not null
);

create table ledger.account (
    account_id smallint primary key,
    name text not null unique
);
insert into ledger.account values
(1, 'usage'), (2, 'unsent'), (3, 'in_flight'), (4, 'acknowledged'), (5, 'invoiced'), (6, 'missed_invoice'), (7, 'rejected'),
(8, 'in_review'), (9, 'charged_by_item'), (10, 'waived'), (11, 'written_off'), (12, 'shadow');

create table ledger.catalogue_version (
    version integer primary key,
    content_toml text not null,
    content_sha256 text not null,
    appended_at timestamptz not null,          -- append time on trueup.catalogue.v1
    in_force_from timestamptz not null,        -- -infinity for the first, else appended_at + 60 s
    finalization_grace_seconds integer not null,
    summary_settle_seconds integer not null,
    bill_from timestamptz,
    recorded_at timestamptz not null
);
create table ledger.meter_version (
    version integer not null references ledger.catalogue_version,
    meter text not null,
    unit text not null,
    scale smallint not null,
    aggregation text not null check (aggregation in ('sum', 'count')),
    billing_window_seconds integer not null,
    horizon_seconds integer not null,
    close_margin_seconds integer not null,
    roll_up_seconds integer not null,
    primary key (version, meter)
);
-- plan is '' for a meter that is not plan-scoped.
create table ledger.meter_event_name (
    version integer not null,
    meter text not null,
    plan text not null,
    stripe_event_name text not null,
    primary key (version, meter, plan),
    foreign key (version, meter) references ledger.meter_version
);

create table ledger.customer_mapping (
    mapping_id bigint generated always as identity primary key,
    customer text not null,
    stripe_customer text not null unique,      -- a Stripe customer belongs to one customer, for ever
    reason text not null,
    recorded_by text not null,
    recorded_at timestamptz not null
);
create index on ledger.customer_mapping (customer, mapping_id desc);  -- the newest mapping of a customer is in force

create table ledger.plan_fact (
    plan_fact_id bigint generated always as identity primary key,
    customer text not null,
    plan text not null,
    effective_from timestamptz not null,
    subscription_id text not null,
    cause_key text not null unique,
    recorded_at timestamptz not null
);

-- One row per (customer, meter): what postings are kept per.
create table ledger.subject (
    subject_id bigint generated always as identity primary key,
    customer text not null,
    meter text not null,
    unique (customer, meter)
);

-- Every transaction that posts draws its number here, after it holds the barrier. CACHE 1: the cut reads last_value.
create sequence ledger.batch_seq cache 1;

create table ledger.batch (
    batch_id bigint primary key,
    kind text not null check (kind in ('capture', 'intent', 'outcome', 'settlement')),
    writer text not null,
    chain_sha256 bytea,
    recorded_at timestamptz not null
);

-- One row per progress record of the dedupe room: what it read, what it said of it, what capture received of it and did with it.
create table ledger.source_batch (
    source_partition integer not null,
    first_offset bigint not null,
    next_offset bigint not null,
    batch_id bigint not null,
    progress_offset bigint not null,
    catalogue_version integer not null,
    last_arrival timestamptz,
    arrived_events bigint not null, arrived_quantity numeric not null, arrived_id_sum numeric not null,
    on_time_events bigint not null, on_time_quantity numeric not null, on_time_id_sum numeric not null,
    late_events bigint not null, late_quantity numeric not null, late_id_sum numeric not null,
    duplicate_events bigint not null, duplicate_quantity numeric not null, duplicate_id_sum numeric not null,
    refused_events bigint not null, refused_quantity numeric not null, refused_id_sum numeric not null,
    suspect_events bigint not null,
    received_on_time_events bigint not null, received_on_time_quantity numeric not null, received_on_time_id_sum numeric not null,
    received_late_events bigint not null, received_late_quantity numeric not null, received_late_id_sum numeric not null,
    received_refused_events bigint not null, received_refused_quantity numeric not null, received_refused_id_sum numeric not null,
    accepted_events bigint not null, accepted_quantity numeric not null, accepted_id_sum numeric not null,
    ledger_duplicate_events bigint not null, ledger_duplicate_quantity numeric not null, ledger_duplicate_id_sum numeric not null,
    conflict_events bigint not null, conflict_quantity numeric not null, conflict_id_sum numeric not null,
    primary key (source_partition, first_offset),
    check (next_offset > first_offset)
);

create table ledger.event (
    identity uuid primary key,
    payload_hash uuid not null,
    source text not null,
    id text not null,
    customer text not null,
    meter text not null,
    subject_id bigint not null,
    quantity bigint not null,                  -- as published, smallest unit
    billable_quantity bigint not null,         -- what it weighs: quantity, or 1 / -1 for a count meter
    event_time timestamptz not null,
    arrival timestamptz not null,              -- append time on the source topic
    late boolean not null,
    reason text,
    corrects text,                             -- id, same source
    dimensions jsonb,
    segment_start timestamptz not null,
    segment_end timestamptz not null,
    source_partition integer not null,
    source_offset bigint not null,
    batch_id bigint not null
);
-- A btree here would cost a third of the insert; batches are written in order, so block ranges find them for nothing.
create index event_batch on ledger.event using brin (batch_id) with (pages_per_range = 16, autosummarize = on);

-- A second delivery with equal values that the dedupe room's memory did not hold.
create table ledger.duplicate (
    source_partition integer not null,
    source_offset bigint not null,
    identity uuid not null,
    arrival timestamptz not null,
    quantity bigint not null,
    batch_id bigint not null,
    primary key (source_partition, source_offset)
);

-- A second delivery with other values. The kept one came first; both hashes stand here.
create table ledger.conflict (
    source_partition integer not null,
    source_offset bigint not null,
    identity uuid not null,
    source text not null,
    id text not null,
    customer text not null,
    meter text not null,
    quantity bigint not null,
    event_time timestamptz not null,
    arrival timestamptz not null,
    kept_payload_hash uuid not null,
    seen_payload_hash uuid not null,
    record bytea not null,
    batch_id bigint not null,
    primary key (source_partition, source_offset)
);

create table ledger.refusal (
    source_partition integer not null,
    source_offset bigint not null,
    arrival timestamptz not null,
    reason text not null check (reason in ('undecodable', 'too_large', 'unknown_schema', 'unknown_meter', 'bad_field',
        'negative_without_reason', 'time_in_future')),
    field text,
    detail text not null,
    identity uuid,                             -- null where the bytes gave none
    source text, id text, customer text, meter text, quantity numeric,
    record bytea,                              -- null when over 64 KiB: then only on usage.rejected.v1
    record_bytes integer not null,
    record_sha256 text not null,
    rejected_offset bigint not null,           -- same partition number on usage.rejected.v1
    batch_id bigint not null,
    primary key (source_partition, source_offset)
);

-- The life of one event is looked up by its identity; these three are small beside the events.
create index duplicate_identity on ledger.duplicate (identity);
create index conflict_identity on ledger.conflict (identity);
create index refusal_identity on ledger.refusal (identity);

-- One row moves a quantity from one account to another: balanced by construction.
create table ledger.posting (
    batch_id bigint not null,
    subject_id bigint not null,
    segment_start timestamptz not null,
    segment_end timestamptz not null,
    from_account smallint not null,
    to_account smallint not null,
    quantity bigint not null,                  -- may be 0 or negative: corrections
    events bigint not null,
    oldest_event_time timestamptz not null,
    newest_event_time timestamptz not null,
    intent_id bigint,                          -- null for capture
    -- Not foreign keys: two look-ups a row were most of what a posting costs, and locked the same twelve rows for everybody.
    check (from_account between 1 and 12 and to_account between 1 and 12 and from_account <> to_account)
);
create index posting_batch on ledger.posting (batch_id);
create index posting_segment on ledger.posting (subject_id, segment_start, batch_id);  -- the number too: a cut reads only what is new

create table ops.source_offset (
    topic text not null,
    partition integer not null,
    epoch bigint not null,
    next_offset bigint not null,
    holder text not null,
    updated_at timestamptz not null,
    primary key (topic, partition)
) with (fillfactor = 10);

-- What one capture batch wrote, as one hash. trueup.ledger.store.seal computes the same from what it is about to write; the two
-- must agree byte for byte. Dimensions are in by the payload hash: jsonb does not keep the text it was given.
-- These two are written so that the planner inlines them, which a pinned search_path or a claim of being immutable would forbid:
-- evaluated a million times, the calls alone took longer than the hashing.
create function ledger.sized_text(content text) returns bytea language sql stable as $$
select coalesce(
    pg_catalog.int4send(pg_catalog.octet_length(pg_catalog.convert_to(content, 'UTF8'))) operator(pg_catalog.||)
    pg_catalog.convert_to(content, 'UTF8'),
    pg_catalog.int4send(-1)
)
$$;
create function ledger.milliseconds(instant timestamptz) returns bigint language sql stable as $$
select (extract(epoch from instant) operator(pg_catalog.*) 1000)::bigint
$$;
-- Every capture batch with the hash it was sealed with and the one its rows give now: a batch is chained to the one before it of the
-- same source partition, so that a row put in or taken out later shows. All batches in one pass: a look-up per batch would read
-- the ledger once for each of them.
create function ledger.capture_seals() returns table (batch_id bigint, source_partition integer, chain_sha256 bytea, expected_sha256 bytea)
language sql stable set search_path = pg_catalog as $$
with captured as (
    select b.batch_id, s.source_partition, b.chain_sha256,
        lag(b.chain_sha256) over (partition by s.source_partition order by s.first_offset) as previous
    from (
        select f.source_partition, f.batch_id, min(f.first_offset) as first_offset
        from ledger.source_batch f
        group by f.source_partition, f.batch_id
    ) s
    join ledger.batch b on b.batch_id = s.batch_id
), events as (
    select e.batch_id,
        string_agg(
            '\x0014'::bytea || int4send(16) || uuid_send(e.identity) || int4send(16) || uuid_send(e.payload_hash)
            || int4send(8) || int8send(e.subject_id) || int4send(8) || int8send(e.quantity) || int4send(8) || int8send(e.billable_quantity)
            || int4send(8) || timestamptz_send(e.event_time) || int4send(8) || timestamptz_send(e.arrival)
            || int4send(1) || boolsend(e.late)
            || int4send(8) || timestamptz_send(e.segment_start) || int4send(8) || timestamptz_send(e.segment_end)
            || int4send(4) || int4send(e.source_partition) || int4send(8) || int8send(e.source_offset) || int4send(8) || int8send(e.batch_id)
            || ledger.sized_text(e.source) || ledger.sized_text(e.id) || ledger.sized_text(e.customer) || ledger.sized_text(e.meter)
            || ledger.sized_text(e.reason) || ledger.sized_text(e.corrects),
            ''::bytea order by e.identity
        ) as content
    from ledger.event e
    group by e.batch_id
), postings as (
    select packed.batch_id, string_agg(packed.content, ''::bytea order by packed.content) as content
    from (
        select p.batch_id,
            '\x000a'::bytea || int4send(8) || int8send(p.batch_id) || int4send(8) || int8send(p.subject_id)
            || int4send(8) || timestamptz_send(p.segment_start) || int4send(8) || timestamptz_send(p.segment_end)
            || int4send(2) || int2send(p.from_account) || int4send(2) || int2send(p.to_account)
            || int4send(8) || int8send(p.quantity) || int4send(8) || int8send(p.events)
            || int4send(8) || timestamptz_send(p.oldest_event_time) || int4send(8) || timestamptz_send(p.newest_event_time) as content
        from ledger.posting p
    ) packed
    group by packed.batch_id
), others as (
    select line.batch_id,
        string_agg(convert_to(line.content, 'UTF8'), '\x0a'::bytea order by line.part, line.sorting, line.content collate "C") as content
    from (
            select d.batch_id, 1 as part, d.source_offset as sorting,
                concat_ws(',', 'duplicate', d.source_offset, d.identity, ledger.milliseconds(d.arrival), d.quantity) as content
            from ledger.duplicate d
            union all
            select c.batch_id, 2, c.source_offset,
                concat_ws(',', 'conflict', c.source_offset, c.identity, c.kept_payload_hash, c.seen_payload_hash, encode(sha256(c.record), 'hex'))
            from ledger.conflict c
            union all
            select r.batch_id, 3, r.source_offset,
                concat_ws(',', 'refusal', r.source_offset, ledger.milliseconds(r.arrival), r.reason, r.record_sha256, r.rejected_offset)
            from ledger.refusal r
            union all
            select s.batch_id, 4, s.first_offset, concat_ws(
                ',', 'source', s.first_offset, s.next_offset, s.progress_offset, s.catalogue_version, ledger.milliseconds(s.last_arrival),
                s.arrived_events, s.arrived_quantity, s.arrived_id_sum, s.on_time_events, s.on_time_quantity, s.on_time_id_sum,
                s.late_events, s.late_quantity, s.late_id_sum, s.duplicate_events, s.duplicate_quantity, s.duplicate_id_sum,
                s.refused_events, s.refused_quantity, s.refused_id_sum, s.suspect_events,
                s.received_on_time_events, s.received_on_time_quantity, s.received_on_time_id_sum,
                s.received_late_events, s.received_late_quantity, s.received_late_id_sum,
                s.received_refused_events, s.received_refused_quantity, s.received_refused_id_sum,
                s.accepted_events, s.accepted_quantity, s.accepted_id_sum,
                s.ledger_duplicate_events, s.ledger_duplicate_quantity, s.ledger_duplicate_id_sum,
                s.conflict_events, s.conflict_quantity, s.conflict_id_sum
            )
            from ledger.source_batch s
        ) line
    group by line.batch_id
)
select
    c.batch_id, c.source_partition, c.chain_sha256,
    sha256(
        coalesce(c.previous, ''::bytea) || int8send(c.batch_id) || int4send(c.source_partition)
        || sha256(coalesce(e.content, ''::bytea) || coalesce(p.content, ''::bytea) || coalesce(o.content, ''::bytea))
    )
from captured c
left join events e on e.batch_id = c.batch_id
left join postings p on p.batch_id = c.batch_id
left join others o on o.batch_id = c.batch_id
$$;

-- Whom usage belongs to at Stripe: the newest mapping; else an id that is Stripe's own stands for itself, unless another customer
-- was given it. Null while unmapped.
create function ledger.stripe_customer_of(customer text) returns text language sql stable security definer
set search_path = pg_catalog as $$
select coalesce(
    (select m.stripe_customer from ledger.customer_mapping m where m.customer = stripe_customer_of.customer order by m.mapping_id desc limit 1),
    case
        when stripe_customer_of.customer like 'cus\_%' and not exists (
            select from ledger.customer_mapping m where m.stripe_customer = stripe_customer_of.customer
        ) then stripe_customer_of.customer
    end
)
$$;
