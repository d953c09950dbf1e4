-- Cuts, intents, lanes, attempts, outcomes, settlements, arming.

create table ledger.cut (
    cut_id bigint generated always as identity primary key,
    through_batch bigint not null,
    recorded_at timestamptz not null
);

create table ledger.lane (
    lane_id bigint generated always as identity primary key,
    stripe_customer text not null,
    stripe_event_name text not null,
    unique (stripe_customer, stripe_event_name)
);

create table ledger.intent (
    intent_id bigint generated always as identity primary key,
    lane_id bigint not null references ledger.lane,
    subject_id bigint not null,
    segment_start timestamptz not null,
    segment_end timestamptz not null,
    after_batch bigint not null,               -- covers this segment's postings to unsent with after_batch < batch_id <= through_batch
    through_batch bigint not null,
    cut_id bigint not null references ledger.cut,
    quantity bigint not null,                  -- smallest unit; equals its postings
    events bigint not null,
    identifier text not null unique,
    stripe_timestamp timestamptz not null,     -- whole seconds
    body jsonb not null,                       -- exactly what is sent: event_name, payload, identifier, timestamp
    body_sha256 text not null,
    batch_id bigint not null,                  -- of its posting unsent -> in_flight (quantity 0: settled at once, nothing is sent)
    recorded_at timestamptz not null,
    unique (subject_id, segment_start, after_batch)
);
create index intent_lane on ledger.intent (lane_id, stripe_timestamp);

create table ledger.attempt (
    attempt_id bigint generated always as identity primary key,
    intent_id bigint not null references ledger.intent,
    number integer not null,
    lane_epoch bigint not null,
    holder text not null,
    idempotency_key text not null,
    started_at timestamptz not null,
    unique (intent_id, number)
);

create table ledger.outcome (
    outcome_id bigint generated always as identity primary key,
    intent_id bigint not null references ledger.intent,
    attempt_id bigint references ledger.attempt,   -- null: settled without a call (zero) or by reading
    class text not null check (class in ('ack', 'ack_duplicate', 'reject', 'retry', 'unknown', 'halt', 'zero', 'settled')),
    final boolean not null,                    -- true: it moved the quantity out of in_flight
    may_have_arrived boolean not null,
    http_status integer,
    stripe_code text,
    message text,
    request_id text,
    lane_epoch bigint,
    posted boolean not null,                   -- false: came under an old epoch, kept as evidence only
    batch_id bigint,
    recorded_at timestamptz not null
);
create unique index outcome_final on ledger.outcome (intent_id) where final;
create index outcome_intent on ledger.outcome (intent_id);
-- One answer per attempt: storing it again after a commit whose answer was lost changes nothing.
create unique index outcome_attempt on ledger.outcome (attempt_id) where attempt_id is not null;

create table ledger.settlement (
    settlement_id bigint generated always as identity primary key,
    lane_id bigint not null references ledger.lane,
    hour_start timestamptz not null,
    quantity_unknown bigint not null,
    quantity_acknowledged bigint not null,
    quantity_stripe bigint not null,
    quantity_landed bigint not null,
    quantity_remainder bigint not null,
    first_read_at timestamptz not null,
    second_read_at timestamptz not null,
    batch_id bigint not null,
    recorded_at timestamptz not null
);
create index settlement_lane on ledger.settlement (lane_id, hour_start);

-- Disarmed until the newest row for the scope says arm and names this very database.
create table ledger.arming (
    arming_id bigint generated always as identity primary key,
    action text not null check (action in ('arm', 'disarm')),
    customer text,                             -- null: the whole deployment
    reason text not null,
    acted_by text not null,
    database_identity text not null,           -- system identifier, timeline, database oid: a restored copy is disarmed
    lanes_compared integer not null,
    lanes_different integer not null,
    recorded_at timestamptz not null
);

-- Which database this is. A restored one has another timeline, a copied one another system identifier or another oid.
create function ops.database_identity() returns text language sql stable
set search_path = pg_catalog
as $$
    select c.system_identifier::text || ':' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || ':' || d.oid::text
    from pg_control_system() c, pg_database d
    where d.datname = current_database()
$$;
create function ops.dispatch_armed() returns boolean language sql stable
set search_path = pg_catalog
as $$
    select coalesce((
        select a.action = 'arm' and a.database_identity = ops.database_identity()
        from ledger.arming a
        where a.customer is null
        order by a.arming_id desc
        limit 1
    ), false)
$$;

create table ops.lane_state (
    lane_id bigint primary key references ledger.lane,
    holder text,
    epoch bigint not null default 0,
    -- The database server's clock: a lease is a wait. A back-off is a lease that is kept; a free lane keeps when it was served last.
    leased_until timestamptz not null default '-infinity',
    failures integer not null default 0,       -- answers in a row that settled nothing
    halted_reason text,
    halted_at timestamptz
) with (fillfactor = 50);

-- Intents without a final outcome: the work of the lanes. Rebuildable from intent, attempt and outcome.
create table ops.open_intent (
    intent_id bigint primary key references ledger.intent,
    lane_id bigint not null references ledger.lane,
    subject_id bigint not null,
    hour_start timestamptz not null,           -- of its Stripe timestamp
    risk_since timestamptz,                    -- start of the first attempt that may have arrived; null while there is none
    settling boolean not null default false    -- not sent again: what became of it is read from Stripe
) with (fillfactor = 50);
create index open_intent_lane on ops.open_intent (lane_id, intent_id);

-- Segments with postings to unsent up to the newest cut that no intent covers. Rebuildable: empty it, set discovered_through to 0.
create table ops.uncovered_segment (
    subject_id bigint not null,
    segment_start timestamptz not null,
    due_at timestamptz not null,
    stripe_customer text,
    stripe_event_name text,
    waits_for text check (waits_for in ('unmapped', 'no_plan', 'no_event_name', 'disarmed')),
    primary key (subject_id, segment_start),
    check ((waits_for is null) = (stripe_customer is not null and stripe_event_name is not null))
) with (fillfactor = 50);
create index uncovered_due on ops.uncovered_segment (due_at) where waits_for is null;

-- How far postings were looked through for uncovered segments, and under which mappings, plans, catalogue and pauses they were judged.
create table ops.dispatch_progress (
    only_row boolean primary key default true check (only_row),
    discovered_through bigint not null default 0,
    cut_id bigint,                             -- the cut that discovered_through comes from
    judged_by text not null default ''
) with (fillfactor = 10);
insert into ops.dispatch_progress default values;

-- The first of the two readings that settle a lane's hour.
create table ops.settle_read (
    lane_id bigint not null references ledger.lane,
    hour_start timestamptz not null,
    quantity numeric not null,
    read_at timestamptz not null,
    primary key (lane_id, hour_start)
);
