-- What Stripe said when it was last read. Rebuildable by reading again.
create table ops.stripe_summary (
    lane_id bigint not null references ledger.lane,
    hour_start timestamptz not null,
    value_text text not null,                  -- repr of Stripe's float
    quantity numeric not null,                 -- Decimal(repr) x 10^scale, rounded to an integer
    read_at timestamptz not null,
    previous_quantity numeric,
    previous_read_at timestamptz,
    primary key (lane_id, hour_start)
);
create table ops.stripe_preview (
    stripe_customer text not null,
    subscription_id text not null,
    price_id text not null,
    quantity numeric not null,
    read_at timestamptz not null,
    primary key (subscription_id, price_id)
);
