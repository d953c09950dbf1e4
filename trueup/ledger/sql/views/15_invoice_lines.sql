-- Each line of Stripe's invoices and previews beside our own.
create view finance.invoice_lines as
with line as (
    select
        i.invoice_id,
        i.number as invoice_number,
        i.invoice_id as source,
        i.stripe_customer,
        i.status,
        i.finalized_at,
        i.read_at,
        l.position, l.line_id, l.subscription_item_id, l.subscription_id, l.price_id, l.stripe_event_name, l.period_start, l.period_end,
        l.quantity_decimal, l.amount_minor, l.discount_minor, l.tax_minor, l.credits_applied_minor, l.currency, l.unit_amount_decimal,
        l.tier, l.amount_mirror_minor, l.why_not_mirrored
    from derived.invoice i
    join ledger.invoice_line l on l.snapshot_id = i.snapshot_id
    where i.status <> 'deleted'
    union all
    select
        'preview:' || p.subscription_id, null, 'preview:' || p.subscription_id, p.stripe_customer, 'preview', null, p.read_at,
        p.position, p.line_id, p.subscription_item_id, p.subscription_id, p.price_id, p.stripe_event_name, p.period_start, p.period_end,
        p.quantity_decimal, p.amount_minor, p.discount_minor, p.tax_minor, p.credits_applied_minor, p.currency, p.unit_amount_decimal,
        p.tier, p.amount_mirror_minor, p.why_not_mirrored
    from ops.invoice_preview_line p
)
select
    l.invoice_id,
    l.invoice_number,
    l.line_id,
    l.subscription_item_id,
    coalesce(c.customer, l.stripe_customer) as customer_id,
    l.period_start,
    l.period_end,
    f.plan,
    e.meter,
    l.price_id,
    l.tier,
    l.unit_amount_decimal,
    ops.in_unit(x.quantity_ledger, coalesce(m.scale, 0)) as quantity_ledger,
    l.quantity_decimal as quantity_stripe,
    l.quantity_decimal - ops.in_unit(x.quantity_ledger, coalesce(m.scale, 0)) as quantity_difference,
    x.amount_expected_minor,
    l.amount_minor as amount_stripe_minor,
    l.amount_minor - x.amount_expected_minor as amount_difference_minor,
    l.discount_minor,
    l.tax_minor,
    l.credits_applied_minor,
    l.currency,
    l.status,
    l.finalized_at,
    l.amount_mirror_minor,
    l.why_not_mirrored,
    coalesce(m.unit, '') as unit,
    l.read_at
from line l
left join derived.stripe_customer c on c.stripe_customer = l.stripe_customer
left join ops.expected_line x on x.source = l.source and x.position = l.position
left join lateral (
    select n.meter from ledger.meter_event_name n where n.stripe_event_name = l.stripe_event_name order by n.version desc limit 1
) e on true
left join derived.meter m on m.meter = e.meter
left join lateral (
    select p.plan
    from ledger.plan_fact p
    where p.subscription_id = l.subscription_id and p.effective_from < l.period_end
    order by p.effective_from desc, p.plan_fact_id desc
    limit 1
) f on true;

comment on view finance.invoice_lines is 'Each line of a Stripe invoice, or of the preview of the next one, beside our own. Two amounts are ours: what the ledger''s quantity costs (amount_expected_minor), and what Stripe''s own quantity costs by our arithmetic (amount_mirror_minor).';
comment on column finance.invoice_lines.invoice_id is 'Stripe''s id of the invoice; of a preview, preview: and the subscription.';
comment on column finance.invoice_lines.invoice_number is 'The number the customer sees; null for drafts and previews.';
comment on column finance.invoice_lines.line_id is 'Stripe''s id of the line.';
comment on column finance.invoice_lines.subscription_item_id is 'The subscription item it bills; null for other lines.';
comment on column finance.invoice_lines.customer_id is 'Our id of the customer; Stripe''s where nobody mapped it.';
comment on column finance.invoice_lines.period_start is 'Start of what it bills, inclusive.';
comment on column finance.invoice_lines.period_end is 'End of what it bills, exclusive.';
comment on column finance.invoice_lines.plan is 'The plan that the subscription was on at the end of the period; null where it is none of ours.';
comment on column finance.invoice_lines.meter is 'Meter of the catalogue; null where the line is not of usage.';
comment on column finance.invoice_lines.price_id is 'Stripe''s price.';
comment on column finance.invoice_lines.tier is 'The tier it bills, from 1; null where the price has none.';
comment on column finance.invoice_lines.unit_amount_decimal is 'Price of a unit in minor units of the currency, with decimals.';
comment on column finance.invoice_lines.quantity_ledger is 'What Stripe has acknowledged of the item''s period by our books, in the meter''s unit; null where the line is not of usage.';
comment on column finance.invoice_lines.quantity_stripe is 'Quantity on Stripe''s line (quantity_decimal), in the meter''s unit.';
comment on column finance.invoice_lines.quantity_difference is 'quantity_stripe minus quantity_ledger.';
comment on column finance.invoice_lines.amount_expected_minor is 'What quantity_ledger costs by our own arithmetic, in minor units; null where the price is not understood.';
comment on column finance.invoice_lines.amount_stripe_minor is 'Amount of Stripe''s line in minor units, before discounts and taxes.';
comment on column finance.invoice_lines.amount_difference_minor is 'amount_stripe_minor minus amount_expected_minor.';
comment on column finance.invoice_lines.discount_minor is 'Discounts on the line, in minor units.';
comment on column finance.invoice_lines.tax_minor is 'Taxes on the line, in minor units.';
comment on column finance.invoice_lines.credits_applied_minor is 'Billing credits applied to the line, in minor units.';
comment on column finance.invoice_lines.currency is 'ISO 4217 currency of the amounts, lower case as Stripe writes it.';
comment on column finance.invoice_lines.status is 'preview, draft, open, paid, uncollectible or void.';
comment on column finance.invoice_lines.finalized_at is 'When Stripe finalized the invoice; null before.';
comment on column finance.invoice_lines.amount_mirror_minor is 'What quantity_stripe costs by our own arithmetic, in minor units: must equal amount_stripe_minor.';
comment on column finance.invoice_lines.why_not_mirrored is 'Why we could not work it out; null where we could.';
comment on column finance.invoice_lines.unit is 'The meter''s unit.';
comment on column finance.invoice_lines.read_at is 'When Stripe was asked.';
