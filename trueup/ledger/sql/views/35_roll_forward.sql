-- From month to month: what was open, what came to it, what left it, what is open now.

-- An item's period in stretches: a price that was changed in it has a line of its own from the change on. With what a unit costs in it.
create view derived.item_stretch as
select
    p.stripe_customer, p.stripe_event_name, p.subscription_item_id, p.period_start, p.period_end, p.currency,
    derived.margin_at(p.subscription_item_id, p.stripe_event_name, p.period_end, p.period_start) as unit_amount_decimal
from derived.standing_period p
union all
select
    m.stripe_customer, m.stripe_event_name, m.subscription_item_id, m.period_start, coalesce(least(m.period_end, p.period_end), m.period_end),
    m.currency, m.unit_amount_decimal
from ops.marginal_price m
left join derived.standing_period p
    on p.subscription_item_id = m.subscription_item_id and p.period_start < m.period_start and p.period_end > m.period_start
where not exists (
    select from derived.standing_period s where s.subscription_item_id = m.subscription_item_id and s.period_start = m.period_start
);

-- Which item's period bills a customer's usage of a meter, and by which price.
create view derived.subject_period as
select
    s.subject_id, s.customer, s.meter, s.scale, n.in_use, p.subscription_item_id, p.period_start, p.period_end, p.currency, p.unit_amount_decimal,
    -- A price that was changed on the item has a line of its own, from the change on: what stands on a line, or was posted for want
    -- of one, says more than the period's newest fact.
    coalesce(l.price_id, q.price_id, v.price_id, f.price_id) as price_id
from derived.subject s
join derived.meter_name n on n.meter = s.meter
join derived.stripe_customer c on c.customer = s.customer
join derived.item_stretch p on p.stripe_customer = c.stripe_customer and p.stripe_event_name = n.stripe_event_name
left join derived.period f on f.subscription_item_id = p.subscription_item_id and f.period_start = p.period_start
left join lateral (
    select x.price_id from ledger.invoice_line x
    where x.subscription_item_id = p.subscription_item_id and x.period_start = p.period_start
    order by x.snapshot_id desc
    limit 1
) l on true
left join lateral (
    select x.price_id from ledger.invoice_posting x
    where x.subscription_item_id = p.subscription_item_id and x.period_start = p.period_start
    order by x.invoice_posting_id desc
    limit 1
) q on true
left join lateral (
    select x.price_id from ops.invoice_preview_line x
    where x.subscription_item_id = p.subscription_item_id and x.period_start = p.period_start
    limit 1
) v on true;

-- What was moved in each month, by the period that bills it; of two that count the same usage, the one that began last.
create view derived.usage_month as
with correction as (
    -- Events that take something back, by the batch and segment they were posted in.
    select e.batch_id, e.subject_id, e.segment_start, sum(e.billable_quantity) as quantity
    from ledger.event e
    where e.billable_quantity < 0
    group by e.batch_id, e.subject_id, e.segment_start
), moved as (
    select
        date_trunc('month', b.recorded_at at time zone 'UTC')::date as month,
        p.subject_id,
        p.segment_start,
        sum(case when p.from_account = 1 and p.to_account <> 12 then p.quantity when p.to_account = 1 and p.from_account <> 12 then -p.quantity else 0 end)
            as used,
        0 as taken_back,
        sum(case when p.to_account = 5 then p.quantity when p.from_account = 5 then -p.quantity else 0 end) as invoiced,
        sum(case when p.to_account = 9 then p.quantity when p.from_account = 9 then -p.quantity else 0 end) as charged_by_item,
        sum(case when p.to_account = 10 then p.quantity when p.from_account = 10 then -p.quantity else 0 end) as waived,
        sum(case when p.to_account = 11 then p.quantity when p.from_account = 11 then -p.quantity else 0 end) as written_off
    from ledger.posting p
    join ledger.batch b on b.batch_id = p.batch_id
    group by month, p.subject_id, p.segment_start
    union all
    select date_trunc('month', b.recorded_at at time zone 'UTC')::date, c.subject_id, c.segment_start, -c.quantity, c.quantity, 0, 0, 0, 0
    from correction c
    join ledger.batch b on b.batch_id = c.batch_id
    where not exists (
        select from ledger.posting p where p.batch_id = c.batch_id and p.subject_id = c.subject_id and p.from_account = 1 and p.to_account = 12
    )
), summed as (
    select
        m.month, m.subject_id, m.segment_start, sum(m.used) as used, sum(m.taken_back) as taken_back, sum(m.invoiced) as invoiced,
        sum(m.charged_by_item) as charged_by_item, sum(m.waived) as waived, sum(m.written_off) as written_off
    from moved m
    group by m.month, m.subject_id, m.segment_start
), placed as (
    select distinct on (m.month, m.subject_id, m.segment_start)
        m.*, p.subscription_item_id, p.period_start, p.price_id, p.currency, p.unit_amount_decimal
    from summed m
    left join derived.subject_period p
        on p.subject_id = m.subject_id and p.period_start <= m.segment_start and p.period_end > m.segment_start
    order by m.month, m.subject_id, m.segment_start, p.in_use desc nulls last, p.period_start desc nulls last, p.subscription_item_id
)
select
    m.month, m.subject_id, m.subscription_item_id, m.period_start, m.price_id, m.currency, m.unit_amount_decimal,
    sum(m.used) as used, sum(m.taken_back) as taken_back, sum(m.invoiced) as invoiced, sum(m.charged_by_item) as charged_by_item,
    sum(m.waived) as waived, sum(m.written_off) as written_off
from placed m
group by m.month, m.subject_id, m.subscription_item_id, m.period_start, m.price_id, m.currency, m.unit_amount_decimal;

create view finance.roll_forward as
with billed as (
    -- What the invoices themselves ask for it, in the month it was posted.
    select
        date_trunc('month', p.recorded_at at time zone 'UTC')::date as month, b.meter, p.currency, sum(b.amount_minor) as amount_minor
    from ledger.invoice_posting p
    join derived.billed_item b
        on b.invoice_id = p.invoice_id and b.subscription_item_id = p.subscription_item_id and b.period_start = p.period_start
    where p.cause_key like '%:0'
    group by month, b.meter, p.currency
), valued as (
    -- By what the price makes of the period so far; what was recorded since that was worked out, at the margin.
    select
        coalesce(m.month, w.month) as month,
        coalesce(s.meter, w.meter) as meter,
        coalesce(m.currency, w.currency) as currency,
        coalesce(m.used, 0) as used, coalesce(m.taken_back, 0) as taken_back, coalesce(m.invoiced, 0) as invoiced,
        coalesce(m.charged_by_item, 0) as charged_by_item, coalesce(m.waived, 0) as waived, coalesce(m.written_off, 0) as written_off,
        case when m.month is null then w.used_minor
            when w.month is null then ops.round_minor_units(m.used * r.worth)
            when m.used = w.quantity_used then w.used_minor
            else w.used_minor + ops.round_minor_units((m.used - w.quantity_used) * r.worth)
        end as used_minor,
        case when m.month is null then w.taken_back_minor
            -- Rounded together with what was used, since one line bills both.
            when w.month is null then ops.round_minor_units((m.used + m.taken_back) * r.worth) - ops.round_minor_units(m.used * r.worth)
            when m.taken_back = w.quantity_taken_back then w.taken_back_minor
            else w.taken_back_minor + ops.round_minor_units((m.taken_back - w.quantity_taken_back) * r.worth)
        end as taken_back_minor,
        ops.round_minor_units(m.charged_by_item * r.worth) as charged_by_item_minor,
        ops.round_minor_units(m.waived * r.worth) as waived_minor,
        ops.round_minor_units(m.written_off * r.worth) as written_off_minor
    from derived.usage_month m
    join derived.subject s on s.subject_id = m.subject_id
    full join ops.period_worth w
        on w.subscription_item_id = m.subscription_item_id and w.period_start = m.period_start and w.month = m.month and w.meter = s.meter
    cross join lateral (select m.unit_amount_decimal / (10::numeric ^ s.scale) as worth) r
), summed as (
    select
        v.month,
        v.meter,
        v.currency,
        coalesce(max(m.scale), 0) as scale,
        coalesce(max(m.unit), '') as unit,
        sum(v.used) as used,
        sum(v.taken_back) as taken_back,
        sum(v.invoiced) as invoiced,
        sum(v.charged_by_item) as charged_by_item,
        sum(v.waived) as waived,
        sum(v.written_off) as written_off,
        sum(v.used_minor) as used_minor,
        sum(v.taken_back_minor) as taken_back_minor,
        coalesce(sum(v.charged_by_item_minor), case when v.currency is not null then 0 end) as charged_by_item_minor,
        coalesce(sum(v.waived_minor), case when v.currency is not null then 0 end) as waived_minor,
        coalesce(sum(v.written_off_minor), case when v.currency is not null then 0 end) as written_off_minor,
        case when v.currency is not null then coalesce((
            select sum(b.amount_minor) from billed b where b.month = v.month and b.meter = v.meter and b.currency = v.currency
        ), 0) end as invoiced_minor
    from valued v
    left join derived.meter m on m.meter = v.meter
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
    case when r.currency is not null then ops.to_minor_units(coalesce(lag(r.closing_minor) over line, 0)) end as opening_minor,
    ops.to_minor_units(r.used_minor) as usage_minor,
    ops.to_minor_units(r.taken_back_minor) as corrections_minor,
    ops.to_minor_units(r.invoiced_minor) as invoiced_minor,
    ops.to_minor_units(r.charged_by_item_minor) as charged_by_item_minor,
    ops.to_minor_units(r.waived_minor) as waived_minor,
    ops.to_minor_units(r.written_off_minor) as written_off_minor,
    ops.to_minor_units(r.closing_minor) as closing_minor
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
comment on column finance.roll_forward.usage_minor is 'The usage''s worth in minor units: what the price makes of its period with it, less what it makes of the period before it, flat fees included. What was recorded since that was worked out counts at the margin.';
comment on column finance.roll_forward.corrections_minor is 'The corrections'' worth, the same way; negative.';
comment on column finance.roll_forward.invoiced_minor is 'What the invoices'' own lines ask for, in minor units, before discounts and taxes.';
comment on column finance.roll_forward.charged_by_item_minor is 'Worth of what was charged by an invoice item.';
comment on column finance.roll_forward.waived_minor is 'Worth of what was waived.';
comment on column finance.roll_forward.written_off_minor is 'Worth of what was written off.';
comment on column finance.roll_forward.closing_minor is 'Opening and all movements added up. A period that is invoiced in full leaves nothing here, whatever its price; what an invoice missed leaves what it would have cost on top. Where a price was changed on an item in mid-period, each stretch counts at the price of Stripe''s line for it; until there is one, at the newest price.';
