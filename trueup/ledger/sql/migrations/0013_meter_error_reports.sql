-- What Stripe refused of what it had received with 2xx, as it reports it: true counts, and samples of the calls.
create table ledger.meter_error_report (
    event_id text primary key,
    stripe_meter_id text,
    created timestamptz not null,
    error_count bigint not null,
    body jsonb not null,
    recorded_at timestamptz not null
);
