-- Billing periods for people.
create view finance.period_status as
select
    p.customer as customer_id,
    p.subscription_id,
    p.subscription_item_id,
    p.meter,
    p.period_start,
    p.period_end,
    p.status,
    ops.in_unit(p.open_quantity, p.scale) as open_quantity,
    p.deadline,
    p.provable,
    case
        when p.period_end > ops.now() then 'the period has not ended'
        when not p.provable then p.why_not
    end as why_not,
    p.plan,
    p.unit,
    p.open_quantity as open_quantity_smallest,
    p.invoice_id,
    p.finalizes_at,
    p.deadline_basis,
    p.why as status_reason,
    p.changed_at as status_since,
    u.quantity as unproved_quantity_smallest,
    ops.to_minor_units(ops.in_unit(u.quantity, p.scale) * derived.margin_at(
        p.subscription_item_id, p.stripe_event_name, p.period_end, p.period_end - interval '1 microsecond'
    )) as unproved_amount_minor,
    p.currency
from derived.period_judged p
cross join lateral (
    -- Of what was cut and not called by the deadline nothing is open any more: a person decides it.
    select p.open_quantity + greatest(p.acknowledged - coalesce(p.quantity_stripe, p.acknowledged), 0) + p.expired as quantity
) u;

comment on view finance.period_status is 'Each billing period of each subscription item: where it stands, until when usage can still reach its invoice, and whether its close is provable.';
comment on column finance.period_status.customer_id is 'Our id of the customer.';
comment on column finance.period_status.subscription_id is 'Stripe''s subscription.';
comment on column finance.period_status.subscription_item_id is 'Stripe''s subscription item; periods live on items.';
comment on column finance.period_status.meter is 'Meter of the catalogue; null where the item''s meter is none of ours.';
comment on column finance.period_status.period_start is 'Start of the period, inclusive.';
comment on column finance.period_status.period_end is 'End of the period, exclusive: an event exactly on it belongs to the next one.';
comment on column finance.period_status.status is 'open; closing (ended, not yet invoiced); invoiced; settled (provable, and paid or nothing is left to invoice); not_provable (its deadline came first). Where it ended it stays.';
comment on column finance.period_status.open_quantity is 'What of the period is unsent, in flight or rejected, in the meter''s unit.';
comment on column finance.period_status.deadline is 'Until when its usage is sent: the finalization less the meter''s close margin.';
comment on column finance.period_status.provable is 'As of now: true if the period has ended, the billing window of its meter too, all that arrived until then is captured, nothing of it is open, and Stripe''s summary shows exactly what it acknowledged.';
comment on column finance.period_status.why_not is 'Why it is not provable; null when it is.';
comment on column finance.period_status.plan is 'Plan of the subscription; null where none fits.';
comment on column finance.period_status.unit is 'The meter''s unit.';
comment on column finance.period_status.open_quantity_smallest is 'The open quantity as an integer, in the meter''s smallest unit.';
comment on column finance.period_status.invoice_id is 'The invoice that bills it, once it is known.';
comment on column finance.period_status.finalizes_at is 'When Stripe finalizes that invoice, as far as is known.';
comment on column finance.period_status.deadline_basis is 'grace (end plus the configured grace) or draft (as the draft invoice says).';
comment on column finance.period_status.status_reason is 'Why it stands where it stands.';
comment on column finance.period_status.status_since is 'Since when.';
comment on column finance.period_status.unproved_quantity_smallest is 'What of the period is not proved to be with Stripe, in the meter''s smallest unit: what is open, what missed its deadline, and what Stripe''s summary lacks.';
comment on column finance.period_status.unproved_amount_minor is 'What that is worth at the customer''s marginal price, in minor units of the currency; null where no price is known.';
comment on column finance.period_status.currency is 'ISO 4217 currency of the amount.';
