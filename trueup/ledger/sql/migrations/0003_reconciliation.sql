-- What Stripe said when it was last read, and how the reconciler reads. All of it can be rebuilt by reading again.

create table ops.stripe_summary (
    lane_id bigint not null references ledger.lane,
    hour_start timestamptz not null,
    value_text text not null,                  -- repr of Stripe's float; several joined by '+' when read by roll-up window
    quantity numeric not null,                 -- Decimal(repr) x 10^scale, rounded to an integer
    exact boolean not null default true,       -- false: a figure of more than 15 digits, which a double does not hold
    read_at timestamptz not null,
    previous_quantity numeric,                 -- of the read before this one
    previous_read_at timestamptz,
    primary key (lane_id, hour_start)
) with (fillfactor = 50);

-- The last time that all hours of a lane that Stripe still accepts usage for were read.
create table ops.stripe_lane_read (
    lane_id bigint primary key references ledger.lane,
    read_at timestamptz not null
) with (fillfactor = 50);

-- What Stripe would invoice for a subscription's metered prices if it did so now.
create table ops.stripe_preview (
    stripe_customer text not null,
    subscription_id text not null,
    price_id text not null,
    subscription_item_id text,
    stripe_event_name text,                    -- of the price's meter
    quantity numeric not null,                 -- in the meter's unit, as Stripe says it
    period_start timestamptz,
    period_end timestamptz,
    read_at timestamptz not null,
    primary key (subscription_id, price_id)
) with (fillfactor = 50);

-- Whose subscriptions were read, and when: a customer mapped a moment ago is not yet among them.
create table ops.stripe_subscription_read (
    stripe_customer text primary key,
    subscriptions integer not null,
    read_at timestamptz not null
) with (fillfactor = 50);

-- How often the reconciler in charge reads, so that the proof knows when a stored read is too old.
create table ops.reconciliation (
    only_row boolean primary key default true check (only_row),
    read_age_seconds bigint not null,          -- an older read proves nothing
    last_round_at timestamptz,
    last_success_at timestamptz                -- a round in which every read was answered
) with (fillfactor = 10);

-- Quantities are kept in the meter's smallest unit; people see them in its unit. The one place where SQL converts.
create function ops.in_unit(quantity numeric, scale integer) returns numeric language sql immutable
set search_path = pg_catalog
as $$ select round(quantity / (10::numeric ^ scale), scale) $$;
