-- Pairs of Stripe customer and Stripe meter that we never sent anything for, and when Stripe was last asked about each.
create table ops.stripe_pair_read (
    stripe_customer text not null,
    stripe_event_name text not null,
    read_at timestamptz not null,
    primary key (stripe_customer, stripe_event_name)
) with (fillfactor = 50);
