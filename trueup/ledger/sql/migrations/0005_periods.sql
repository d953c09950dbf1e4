-- Billing periods as facts with a deadline, the events of Stripe they are learnt from, and what the deadline does to usage.

-- What Stripe said happened, by webhook or found by polling. The same event by both ways is one row.
create table ledger.stripe_event (
    event_id text primary key,
    type text not null,
    object_id text,
    stripe_customer text,
    created timestamptz not null,
    received_at timestamptz not null,
    via text not null check (via in ('webhook', 'poll')),
    body jsonb not null,
    recorded_at timestamptz not null
);
create index stripe_event_object on ledger.stripe_event (object_id, created);
create index stripe_event_created on ledger.stripe_event (created);

-- The newest fact per (item, period_start) holds: a cancel or a swap shortens the end.
create table ledger.billing_period (
    period_id bigint generated always as identity primary key,
    subscription_item_id text not null,
    subscription_id text not null,
    stripe_customer text not null,
    price_id text not null,
    stripe_event_name text not null,
    plan text,
    currency text not null,
    period_start timestamptz not null,
    period_end timestamptz not null,
    cause_key text not null unique,
    recorded_at timestamptz not null,
    check (period_end >= period_start)
);
create index billing_period_item on ledger.billing_period (subscription_item_id, period_start, period_id desc);
create index billing_period_lane on ledger.billing_period (stripe_customer, stripe_event_name, period_start);

-- What became of a period; the newest holds. `deadline` is the instant at which Stripe finalizes, before any close margin.
create table ledger.period_event (
    period_event_id bigint generated always as identity primary key,
    subscription_item_id text not null,
    period_start timestamptz not null,
    status text not null check (status in ('open', 'closing', 'invoiced', 'settled', 'not_provable')),
    invoice_id text,
    deadline timestamptz,
    deadline_basis text check (deadline_basis in ('grace', 'draft')),
    why text not null,
    cause_key text not null unique,
    recorded_at timestamptz not null,
    check ((deadline is null) = (deadline_basis is null))
);
create index period_event_item on ledger.period_event (subscription_item_id, period_start, period_event_id desc);

-- Events whose first posting did not go where on time and late go by themselves: those the late policy decided, and those whose
-- period had passed its deadline when they were captured.
create table ledger.diverted_event (
    identity uuid primary key,
    subject_id bigint not null,
    batch_id bigint not null,
    to_account smallint not null,
    why text not null
);
create index diverted_event_batch on ledger.diverted_event (batch_id);

-- The deadline of usage of one lane at an instant: the finalization of the period that holds it (the draft's own date once there
-- is a draft, else the end plus the grace), less the meter's close margin. Null while no period is known. Where two items count the
-- same usage, the earlier one.
create function ledger.deadline_at(
    stripe_customer text, stripe_event_name text, meter text, usage_at timestamptz
) returns timestamptz language sql stable set search_path = pg_catalog as $$
select min(
    coalesce(e.deadline, p.period_end + coalesce((
        select c.finalization_grace_seconds from ledger.catalogue_version c order by c.version desc limit 1
    ), 86400) * interval '1 s')
    - coalesce((
        select v.close_margin_seconds from ledger.meter_version v where v.meter = deadline_at.meter order by v.version desc limit 1
    ), 600) * interval '1 s'
)
from ledger.billing_period p
left join lateral (
    select x.deadline from ledger.period_event x
    where x.subscription_item_id = p.subscription_item_id and x.period_start = p.period_start
        and x.deadline is not null
    order by x.period_event_id desc
    limit 1
) e on true
where p.stripe_customer = deadline_at.stripe_customer and p.stripe_event_name = deadline_at.stripe_event_name
    and p.period_start <= usage_at and p.period_end > usage_at
    and not exists (
        select from ledger.billing_period n
        where n.subscription_item_id = p.subscription_item_id and n.period_start = p.period_start and n.period_id > p.period_id
    )
$$;

-- Rooms stand still while a ledger is migrated, and no row breaks a rule that only grows: there is nothing to wait for.
-- squawk-ignore ban-drop-constraint
alter table ledger.outcome drop constraint outcome_class_check;
-- squawk-ignore constraint-missing-not-valid
alter table ledger.outcome add constraint outcome_class_check
check (class in ('ack', 'ack_duplicate', 'reject', 'retry', 'unknown', 'halt', 'zero', 'settled', 'expired'));
-- squawk-ignore ban-drop-constraint
alter table ledger.batch drop constraint batch_kind_check;
-- squawk-ignore constraint-missing-not-valid
alter table ledger.batch add constraint batch_kind_check
check (kind in ('capture', 'intent', 'outcome', 'settlement', 'split', 'correction', 'invoice'));

-- Kept beside the work, so that choosing what to do next asks nobody; computed anew whenever a period's facts change.
alter table ops.uncovered_segment add column deadline timestamptz;
alter table ops.open_intent add column deadline timestamptz;
-- squawk-ignore require-concurrent-index-creation
create index open_intent_deadline on ops.open_intent (deadline);
-- squawk-ignore require-concurrent-index-creation
create index uncovered_deadline on ops.uncovered_segment (deadline);

-- Whether what may have arrived is still surely remembered by Stripe under its identifier: 20 h, or the deadline if sooner.
-- Written so that the planner inlines it.
create function ops.past_horizon(risk_since timestamptz, deadline timestamptz) returns boolean language sql stable
as $$ select risk_since is not null and least(risk_since + interval '20 hours', deadline) <= ops.now() $$;

-- "Cut now what is captured of this customer, send it, and tell when Stripe has it."
create table ops.flush (
    flush_id bigint generated always as identity primary key,
    customer text not null,
    reason text not null,
    through_batch bigint not null,             -- what was captured when it was asked for
    requested_at timestamptz not null,
    done_at timestamptz
);
create index flush_open on ops.flush (customer) where done_at is null;

-- The last comparison of a period with Stripe's summaries, over whole minutes on both sides.
create table ops.period_check (
    subscription_item_id text not null,
    period_start timestamptz not null,
    quantity_acknowledged numeric not null,
    quantity_stripe numeric not null,
    read_at timestamptz not null,
    previous_quantity_stripe numeric,
    previous_read_at timestamptz,
    primary key (subscription_item_id, period_start)
) with (fillfactor = 50);

-- Up to where Stripe's list of events was polled, and whether the last poll found something that no webhook had brought.
create table ops.event_poll (
    only_row boolean primary key default true check (only_row),
    polled_at timestamptz not null,
    missed_total bigint not null default 0
);
