-- From month to month: what was open, what came to it, what left it, what is open now.

-- What a unit of a customer's meter is worth: as its newest period is billed, else at the margin of the newest price known.
create view derived.unit_worth as
select distinct on (s.subject_id)
    s.subject_id, m.currency, m.unit_amount_decimal
from ledger.subject s
join ledger.meter_event_name n on n.meter = s.meter and n.version = (select max(v.version) from ledger.catalogue_version v)
join derived.stripe_customer c on c.customer = s.customer
join ops.marginal_price m on m.stripe_customer = c.stripe_customer and m.stripe_event_name = n.stripe_event_name
order by s.subject_id, m.period_start desc, m.subscription_item_id;

create view finance.roll_forward as
with correction as (
    -- Events that take something back, by the batch and hour they were posted in.
    select e.batch_id, e.subject_id, sum(e.billable_quantity) as quantity
    from ledger.event e
    where e.billable_quantity < 0
    group by e.batch_id, e.subject_id
), moved as (
    select
        date_trunc('month', b.recorded_at at time zone 'UTC')::date as month,
        p.subject_id,
        sum(case when p.from_account = 1 and p.to_account <> 12 then p.quantity when p.to_account = 1 and p.from_account <> 12 then -p.quantity else 0 end)
            as used,
        sum(case when p.to_account = 5 then p.quantity when p.from_account = 5 then -p.quantity else 0 end) as invoiced,
        sum(case when p.to_account = 9 then p.quantity when p.from_account = 9 then -p.quantity else 0 end) as charged_by_item,
        sum(case when p.to_account = 10 then p.quantity when p.from_account = 10 then -p.quantity else 0 end) as waived,
        sum(case when p.to_account = 11 then p.quantity when p.from_account = 11 then -p.quantity else 0 end) as written_off
    from ledger.posting p
    join ledger.batch b on b.batch_id = p.batch_id
    group by month, p.subject_id
), taken_back as (
    select date_trunc('month', b.recorded_at at time zone 'UTC')::date as month, c.subject_id, sum(c.quantity) as quantity
    from correction c
    join ledger.batch b on b.batch_id = c.batch_id
    where not exists (
        select from ledger.posting p where p.batch_id = c.batch_id and p.subject_id = c.subject_id and p.from_account = 1 and p.to_account = 12
    )
    group by month, c.subject_id
), billed as (
    -- What the invoices themselves ask for it, in the month it was posted.
    select date_trunc('month', p.recorded_at at time zone 'UTC')::date as month, l.customer, l.meter, p.currency, sum(b.amount_minor) as amount_minor
    from ledger.invoice_posting p
    join derived.billed_item b
        on b.invoice_id = p.invoice_id and b.subscription_item_id = p.subscription_item_id and b.period_start = p.period_start
    join derived.lane l on l.lane_id = p.lane_id
    where p.cause_key like '%:0'
    group by month, l.customer, l.meter, p.currency
), valued as (
    select
        m.month,
        s.customer,
        s.meter,
        s.scale,
        s.unit,
        w.currency,
        m.used - coalesce(t.quantity, 0) as used,
        coalesce(t.quantity, 0) as taken_back,
        m.invoiced, m.charged_by_item, m.waived, m.written_off,
        w.unit_amount_decimal / (10::numeric ^ s.scale) as worth
    from moved m
    join derived.subject s on s.subject_id = m.subject_id
    left join taken_back t on t.month = m.month and t.subject_id = m.subject_id
    left join derived.unit_worth w on w.subject_id = m.subject_id
), summed as (
    select
        v.month,
        v.meter,
        v.currency,
        max(v.scale) as scale,
        max(v.unit) as unit,
        sum(v.used) as used,
        sum(v.taken_back) as taken_back,
        sum(v.invoiced) as invoiced,
        sum(v.charged_by_item) as charged_by_item,
        sum(v.waived) as waived,
        sum(v.written_off) as written_off,
        -- Rounded for each customer, as invoices are; what was used and what was taken back of it together, since one line bills both.
        sum(ops.to_minor_units(v.used * v.worth))::bigint as used_minor,
        sum(ops.to_minor_units((v.used + v.taken_back) * v.worth) - ops.to_minor_units(v.used * v.worth))::bigint as taken_back_minor,
        sum(ops.to_minor_units(v.charged_by_item * v.worth))::bigint as charged_by_item_minor,
        sum(ops.to_minor_units(v.waived * v.worth))::bigint as waived_minor,
        sum(ops.to_minor_units(v.written_off * v.worth))::bigint as written_off_minor,
        case when v.currency is not null then coalesce((
            select sum(b.amount_minor) from billed b where b.month = v.month and b.meter = v.meter and b.currency = v.currency
        ), 0) end as invoiced_minor
    from valued v
    group by v.month, v.meter, v.currency
), running as (
    select
        s.*,
        sum(s.used + s.taken_back - s.invoiced - s.charged_by_item - s.waived - s.written_off) over earlier as closing,
        sum(s.used_minor + s.taken_back_minor - s.invoiced_minor - s.charged_by_item_minor - s.waived_minor - s.written_off_minor)
            over earlier as closing_minor
    from summed s
    window earlier as (partition by s.meter, s.currency order by s.month)
)
select
    r.month,
    r.meter,
    r.currency,
    r.unit,
    ops.in_unit(coalesce(lag(r.closing) over line, 0), r.scale) as opening_quantity,
    ops.in_unit(r.used, r.scale) as usage_quantity,
    ops.in_unit(r.taken_back, r.scale) as corrections_quantity,
    ops.in_unit(r.invoiced, r.scale) as invoiced_quantity,
    ops.in_unit(r.charged_by_item, r.scale) as charged_by_item_quantity,
    ops.in_unit(r.waived, r.scale) as waived_quantity,
    ops.in_unit(r.written_off, r.scale) as written_off_quantity,
    ops.in_unit(r.closing, r.scale) as closing_quantity,
    case when r.currency is not null then coalesce(lag(r.closing_minor) over line, 0)::bigint end as opening_minor,
    r.used_minor as usage_minor,
    r.taken_back_minor as corrections_minor,
    r.invoiced_minor::bigint as invoiced_minor,
    r.charged_by_item_minor,
    r.waived_minor,
    r.written_off_minor,
    r.closing_minor::bigint as closing_minor
from running r
window line as (partition by r.meter, r.currency order by r.month);

comment on view finance.roll_forward is 'Per UTC month of booking, meter and currency: opening unbilled + usage + corrections - invoiced - charged by item - waived - written off = closing, in units and in money. Usage that an invoice missed, that Stripe refused or that a person has to decide is part of closing. Shadow usage is left out.';
comment on column finance.roll_forward.month is 'First day of the UTC month in which it was recorded.';
comment on column finance.roll_forward.meter is 'Meter of the catalogue.';
comment on column finance.roll_forward.currency is 'ISO 4217 currency of the customers'' price; null for customers without one.';
comment on column finance.roll_forward.unit is 'The meter''s unit.';
comment on column finance.roll_forward.opening_quantity is 'What was on no invoice when the month began: the month''s before closing.';
comment on column finance.roll_forward.usage_quantity is 'Usage recorded in the month, on time and late.';
comment on column finance.roll_forward.corrections_quantity is 'What negative usage events took back in the month; negative.';
comment on column finance.roll_forward.invoiced_quantity is 'What finalized invoices billed, in the month it was posted.';
comment on column finance.roll_forward.charged_by_item_quantity is 'What was charged by an invoice item of its own.';
comment on column finance.roll_forward.waived_quantity is 'What was waived.';
comment on column finance.roll_forward.written_off_quantity is 'What was written off.';
comment on column finance.roll_forward.closing_quantity is 'What is on no invoice when the month ends.';
comment on column finance.roll_forward.opening_minor is 'The opening quantity''s worth, in minor units: the month''s before closing.';
comment on column finance.roll_forward.usage_minor is 'The usage''s worth at the price of a further unit in the newest period known, in minor units.';
comment on column finance.roll_forward.corrections_minor is 'The corrections'' worth, the same way; negative.';
comment on column finance.roll_forward.invoiced_minor is 'What the invoices'' own lines ask for, in minor units, before discounts and taxes.';
comment on column finance.roll_forward.charged_by_item_minor is 'Worth of what was charged by an invoice item.';
comment on column finance.roll_forward.waived_minor is 'Worth of what was waived.';
comment on column finance.roll_forward.written_off_minor is 'Worth of what was written off.';
comment on column finance.roll_forward.closing_minor is 'Opening and all movements added up. Where a price has tiers, packages or flat fees, usage is worth more or less at the margin than it was billed for; that difference stays here.';
