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
create index intent_lane on ledger.intent (lane_id, intent_id);

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

create table ops.lane_state (
    lane_id bigint primary key references ledger.lane,
    holder text,
    epoch bigint not null default 0,
    leased_until timestamptz,                  -- the database server's clock: a lease is a wait
    halted_reason text,
    halted_at timestamptz
);
