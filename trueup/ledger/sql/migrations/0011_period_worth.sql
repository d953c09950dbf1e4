-- What a month's usage of a subscription item's period is worth, by what the price makes of the whole period so far.
create table ops.period_worth (
    subscription_item_id text not null,
    period_start timestamptz not null,
    month date not null,                       -- in which the usage was recorded; also that of the invoice
    meter text not null,
    currency text not null,
    quantity_used numeric not null,            -- smallest unit, of the month
    quantity_taken_back numeric not null,
    used_minor bigint not null,
    taken_back_minor bigint not null,
    computed_at timestamptz not null,
    primary key (subscription_item_id, period_start, month)
) with (fillfactor = 50);
