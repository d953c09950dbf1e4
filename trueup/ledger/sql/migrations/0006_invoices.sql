-- What Stripe billed: prices, invoices and their lines as they were read, and what the ledger posted for them.

-- A price as Stripe described it; the newest row of a price holds.
create table ledger.stripe_price (
    price_record_id bigint generated always as identity primary key,
    price_id text not null,
    currency text not null,
    stripe_meter_id text,                      -- null: not a price of usage
    stripe_event_name text,
    body jsonb not null,
    body_sha256 text not null,
    recorded_at timestamptz not null
);
create index stripe_price_newest on ledger.stripe_price (price_id, price_record_id desc);

-- An invoice as it stood when it was read; only a change makes a new row, and the newest row of an invoice holds.
create table ledger.invoice_snapshot (
    snapshot_id bigint generated always as identity primary key,
    invoice_id text not null,
    status text not null check (status in ('draft', 'open', 'paid', 'uncollectible', 'void', 'deleted')),
    number text,
    stripe_customer text not null,
    subscription_id text,
    billing_reason text,
    currency text not null,
    subtotal_minor bigint not null,
    total_minor bigint not null,
    created_at timestamptz not null,
    automatically_finalizes_at timestamptz,
    finalized_at timestamptz,
    body jsonb not null,                       -- without its lines
    content_sha256 text not null,              -- over the body and the lines
    read_at timestamptz not null,
    recorded_at timestamptz not null
);
create index invoice_snapshot_newest on ledger.invoice_snapshot (invoice_id, snapshot_id desc);
create index invoice_snapshot_customer on ledger.invoice_snapshot (stripe_customer, snapshot_id);

create table ledger.invoice_line (
    snapshot_id bigint not null references ledger.invoice_snapshot,
    position integer not null,
    line_id text not null,
    invoice_id text not null,
    subscription_item_id text,
    subscription_id text,
    price_id text,
    stripe_event_name text,                    -- null: not a line of usage
    period_start timestamptz not null,
    period_end timestamptz not null,
    quantity_decimal numeric,
    amount_minor bigint not null,
    discount_minor bigint not null,
    tax_minor bigint not null,
    credits_applied_minor bigint not null,
    currency text not null,
    unit_amount_decimal numeric,
    tier integer,                              -- from 1, where the price has tiers
    amount_mirror_minor bigint,                -- what we make of Stripe's own quantity; null where the price is not understood
    why_not_mirrored text,
    body jsonb not null,
    primary key (snapshot_id, position)
);
create index invoice_line_item on ledger.invoice_line (subscription_item_id, period_start);

-- "This much of an item's period was billed": one row each time that moved something, or that it was found to move nothing.
create table ledger.invoice_posting (
    invoice_posting_id bigint generated always as identity primary key,
    cause_key text not null unique,            -- invoice, item, period, and how many rows came before
    invoice_id text not null,                  -- 'none:' and the subscription, where it ended without one
    snapshot_id bigint references ledger.invoice_snapshot,
    subscription_item_id text not null,
    price_id text not null,
    lane_id bigint references ledger.lane,     -- null: nothing was ever sent for it
    period_start timestamptz not null,
    period_end timestamptz not null,
    quantity_billed bigint not null,           -- smallest unit, as on the finalized invoice
    quantity_acknowledged bigint not null,     -- what stood in acknowledged for the period before this
    quantity_invoiced bigint not null,
    quantity_missed bigint not null,
    amount_missed_minor bigint,                -- marginal at the customer's price; null where the price is not understood
    currency text not null,
    batch_id bigint not null,
    recorded_at timestamptz not null
);
create index invoice_posting_item on ledger.invoice_posting (subscription_item_id, period_start);
create index invoice_posting_invoice on ledger.invoice_posting (invoice_id);

-- What of each intent was billed, and what was not.
create table ledger.invoice_allocation (
    invoice_posting_id bigint not null references ledger.invoice_posting,
    intent_id bigint not null references ledger.intent,
    quantity_invoiced bigint not null,
    events_invoiced bigint not null,
    quantity_missed bigint not null,
    events_missed bigint not null,
    amount_missed_minor bigint,
    primary key (invoice_posting_id, intent_id)
);
create index invoice_allocation_intent on ledger.invoice_allocation (intent_id);

-- The lines that Stripe would write now; forgotten when it is asked again.
create table ops.invoice_preview_line (
    subscription_id text not null,
    position integer not null,
    stripe_customer text not null,
    line_id text not null,
    subscription_item_id text,
    price_id text,
    stripe_event_name text,
    period_start timestamptz not null,
    period_end timestamptz not null,
    quantity_decimal numeric,
    amount_minor bigint not null,
    discount_minor bigint not null,
    tax_minor bigint not null,
    credits_applied_minor bigint not null,
    currency text not null,
    unit_amount_decimal numeric,
    tier integer,
    amount_mirror_minor bigint,
    why_not_mirrored text,
    read_at timestamptz not null,
    primary key (subscription_id, position)
);

-- What our own line says beside each of Stripe's, from what the ledger holds; computed anew with every reading.
create table ops.expected_line (
    source text not null,                      -- an invoice, or 'preview:' and a subscription
    position integer not null,
    quantity_ledger numeric not null,          -- smallest unit
    amount_expected_minor bigint,
    computed_at timestamptz not null,
    primary key (source, position)
) with (fillfactor = 50);

-- What a further unit of an item's period would cost, so that what is open can be valued.
create table ops.marginal_price (
    subscription_item_id text not null,
    period_start timestamptz not null,
    period_end timestamptz not null,
    stripe_customer text not null,
    stripe_event_name text not null,
    currency text not null,
    unit_amount_decimal numeric,               -- minor units per unit of the meter; null where the price is not understood
    read_at timestamptz not null,
    primary key (subscription_item_id, period_start)
) with (fillfactor = 50);
create index marginal_price_lane on ops.marginal_price (stripe_customer, stripe_event_name, period_start);

-- When a customer's invoices were last read.
create table ops.invoice_read (
    stripe_customer text primary key,
    read_at timestamptz not null
) with (fillfactor = 50);

-- The one place where SQL rounds money: to the nearest minor unit, a half away from zero, as trueup.contracts.pricing.rounding does.
create function ops.to_minor_units(amount numeric) returns bigint language sql immutable
set search_path = pg_catalog
as $$ select round(amount)::bigint $$;
