-- What was taken back or changed after the fact. So far: negative usage events.
create view finance.adjustments as
with priced as (
    -- As unbilled_usage has it: the item's period that holds it; of two that count the same usage, the one that began last.
    select distinct on (e.identity)
        e.identity, p.period_start, p.period_end, p.currency,
        derived.margin_at(p.subscription_item_id, p.stripe_event_name, p.period_end, e.event_time) as unit_amount_decimal
    from ledger.event e
    join derived.customer_item_period p
        on p.customer = e.customer and p.meter = e.meter and p.period_start <= e.event_time and p.period_end > e.event_time
    where e.quantity < 0
    order by e.identity, p.period_start desc, p.subscription_item_id
)
select
    e.identity::text as adjustment_id,
    (b.recorded_at at time zone 'UTC')::date as booked_on,
    e.customer as customer_id,
    e.meter,
    ops.in_unit(e.billable_quantity, s.scale) as quantity,
    e.billable_quantity as quantity_smallest,
    ops.to_minor_units(ops.in_unit(e.billable_quantity, s.scale) * p.unit_amount_decimal) as amount_minor,
    case when p.unit_amount_decimal is not null then p.currency end as currency,
    'refund' as kind,
    e.reason,
    e.source,
    e.id as event_id,
    e.corrects as corrects_event_id,
    p.period_start,
    p.period_end,
    null::text as invoice_id,
    null::text as credit_note_id,
    null::text as decided_by,
    case d.to_account when 8 then 'in_review' when 10 then 'waived' when 12 then 'shadow' else 'booked' end as status,
    e.event_time,
    s.unit
from ledger.event e
join ledger.batch b on b.batch_id = e.batch_id
join derived.subject s on s.subject_id = e.subject_id
join derived.event_destination d on d.identity = e.identity
left join priced p on p.identity = e.identity
where e.quantity < 0;

comment on view finance.adjustments is 'Everything that took usage or money back, or moved it, one row per act. So far: negative usage events (kind refund).';
comment on column finance.adjustments.adjustment_id is 'Id of the act, stable for ever.';
comment on column finance.adjustments.booked_on is 'UTC day on which the ledger recorded it; never changes.';
comment on column finance.adjustments.customer_id is 'Our id of the customer.';
comment on column finance.adjustments.meter is 'Meter of the catalogue.';
comment on column finance.adjustments.quantity is 'Quantity in the meter''s unit; negative takes back.';
comment on column finance.adjustments.quantity_smallest is 'The same as an integer, in the meter''s smallest unit.';
comment on column finance.adjustments.amount_minor is 'What it is worth at the customer''s marginal price in its period, in minor units of the currency; null where no price is known.';
comment on column finance.adjustments.currency is 'ISO 4217 currency of the amount; null where no price is known.';
comment on column finance.adjustments.kind is 'refund, plan_change, late_accepted, late_charge, credit, waiver, repair, write_off, replacement, credit_note, invoice_item, charge_refund or dispute. So far only refund.';
comment on column finance.adjustments.reason is 'Reason code given by whoever did it.';
comment on column finance.adjustments.source is 'Source of the event that did it.';
comment on column finance.adjustments.event_id is 'Id of that event within its source.';
comment on column finance.adjustments.corrects_event_id is 'Id of the event it takes back, same source; null where it names none.';
comment on column finance.adjustments.period_start is 'Start of the billing period it counts in, inclusive; null while the period is not known.';
comment on column finance.adjustments.period_end is 'End of that billing period, exclusive; null while the period is not known.';
comment on column finance.adjustments.invoice_id is 'Stripe''s invoice it is on; null where there is none.';
comment on column finance.adjustments.credit_note_id is 'Stripe''s credit note; null where there is none.';
comment on column finance.adjustments.decided_by is 'Who decided it; null where no person had to.';
comment on column finance.adjustments.status is 'booked (it counts), in_review (it came late, or after its deadline; a person decides), waived (by the late policy, or of a customer who is never billed), or shadow (before billing begins).';
comment on column finance.adjustments.event_time is 'When the usage it is about happened, as the event says.';
comment on column finance.adjustments.unit is 'The meter''s unit.';
