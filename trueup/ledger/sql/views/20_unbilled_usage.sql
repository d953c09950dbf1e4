-- Usage that is on no invoice, by what keeps it off.

-- What a unit of an instant costs in an item's period, as the lines say that were read: the line over the instant, also where it tells of a
-- price that is not understood. A swap leaves the lines of the plan before, which end within the period; one that still reaches the
-- period's end and counts another meter is from before the swap, and says nothing of what came after it. Where no line says anything,
-- as the newest of the item and meter does.
create function derived.margin_at(item text, event_name text, ends_at timestamptz, at timestamptz) returns numeric language sql
stable security definer set search_path = pg_catalog as $$
select case when count(*) > 0 then min(l.unit_amount_decimal) else (
    select n.unit_amount_decimal from ops.marginal_price n
    where n.subscription_item_id = margin_at.item and n.stripe_event_name = margin_at.event_name and n.unit_amount_decimal is not null
    order by n.period_start desc limit 1
) end
from (
    select x.unit_amount_decimal from ops.marginal_price x
    where x.subscription_item_id = margin_at.item and x.period_start <= margin_at.at and x.period_end > margin_at.at
        and (x.stripe_event_name = margin_at.event_name or x.period_end < margin_at.ends_at)
    order by x.period_start desc, x.stripe_event_name = margin_at.event_name desc limit 1
) l
$$;

-- Stretches that lines told of where no fact tells of a period: within one, a line is only a part of it, and goes no further than it.
create view derived.untold_stretch as
select m.*
from ops.marginal_price m
where not exists (
        select from derived.standing_period p
        where p.subscription_item_id = m.subscription_item_id and p.period_start < m.period_end and p.period_end > m.period_start
    )
    and not exists (
        select from ledger.billing_period f
        where f.subscription_item_id = m.subscription_item_id and f.period_start = m.period_start
    );

-- A subscription item's period, and when its invoice is final.
create view derived.item_period as
select
    p.stripe_customer, p.stripe_event_name, p.subscription_item_id, p.period_start, p.period_end, p.finalizes_at, p.currency
from derived.period p
union all
select
    m.stripe_customer, m.stripe_event_name, m.subscription_item_id, m.period_start, m.period_end,
    m.period_end + (
        select c.finalization_grace_seconds from ledger.catalogue_version c order by c.version desc limit 1
    ) * interval '1 s', m.currency
from derived.untold_stretch m;

-- What of that costs nothing to ask: where it lies, and what a further unit costs, without what became of it.
create view derived.priced_period as
select
    p.stripe_customer, p.stripe_event_name, p.subscription_item_id, p.period_start, p.period_end, p.currency,
    derived.margin_at(p.subscription_item_id, p.stripe_event_name, p.period_end, p.period_end - interval '1 microsecond') as unit_amount_decimal
from derived.standing_period p
union all
select
    m.stripe_customer, m.stripe_event_name, m.subscription_item_id, m.period_start, m.period_end, m.currency, m.unit_amount_decimal
from derived.untold_stretch m;

-- The same with whose it is with us and which meter it counts; a meter that is counted per plan has several of Stripe's.
create view derived.customer_item_period as
select c.customer, n.meter, p.*
from derived.priced_period p
join derived.stripe_customer c on c.stripe_customer = p.stripe_customer
join derived.meter_name n on n.stripe_event_name = p.stripe_event_name;

-- From when to when subscriptions of a customer count one of Stripe's meters, and the price of the last of them.
create view derived.item_reach as
select
    p.stripe_customer, p.stripe_event_name, min(p.period_start) as begins_at, max(p.period_end) as ends_at,
    (array_agg(p.unit_amount_decimal order by p.period_end desc, p.period_start desc, p.subscription_item_id))[1] as unit_amount_decimal,
    (array_agg(p.currency order by p.period_end desc, p.period_start desc, p.subscription_item_id))[1] as currency
from derived.priced_period p
group by p.stripe_customer, p.stripe_event_name;

create view finance.unbilled_usage as
with legs as (
    select p.subject_id, p.segment_start, p.intent_id, p.to_account as account_id, p.quantity, p.oldest_event_time
    from ledger.posting p
    union all
    select p.subject_id, p.segment_start, p.intent_id, p.from_account, -p.quantity, p.oldest_event_time
    from ledger.posting p
), standing as (
    -- What was sent is kept apart by intent, since each has its own answer and its own lane; all else by segment.
    select
        row_number() over () as number,
        l.subject_id,
        l.segment_start,
        l.account_id,
        case when l.account_id in (3, 4, 6, 7) then l.intent_id end as intent_id,
        sum(l.quantity) as quantity,
        min(l.oldest_event_time) as oldest_event_at
    from legs l
    where l.account_id in (2, 3, 4, 6, 7, 8)
    group by l.subject_id, l.segment_start, l.account_id, case when l.account_id in (3, 4, 6, 7) then l.intent_id end
    having sum(l.quantity) <> 0
), meter_name as (
    -- Under which names Stripe counts a meter, by the last catalogue that has it; a meter that is counted per plan has several.
    select n.meter, n.stripe_event_name
    from ledger.meter_event_name n
    where n.version = (select max(v.version) from ledger.meter_version v where v.meter = n.meter)
), named as (
    select
        s.number,
        h.customer as customer_id,
        h.meter,
        h.scale,
        s.segment_start,
        -- Stripe bills what was sent by the second it was sent for.
        coalesce(i.stripe_timestamp, s.segment_start) as used_at,
        date_trunc('hour', s.segment_start, 'UTC') as hour,
        case
            when s.account_id = 2
                then case coalesce(
                    -- About to be waived: it waits for no mapping.
                    case when w.customer is not null then 'never_billed' end, u.waits_for,
                    case when c.customer is null and not starts_with(h.customer, 'cus_') then 'unmapped' end
                )
                    when 'unmapped' then 'unmapped'
                    when 'no_plan' then 'no_plan'
                    when 'ambiguous_plan' then 'ambiguous_plan'
                    when 'no_price' then 'no_price'
                    when 'no_event_name' then 'no_plan'
                    else 'unsent'
                end
            when s.account_id = 3 and a.class = 'unknown' then 'unknown'
            when s.account_id = 3 then 'in_flight'
            -- Received, and refused by a report afterwards: no invoice will have it.
            when s.account_id = 4 and s.intent_id in (select r.intent_id from derived.reported_intent r) then 'rejected'
            when s.account_id = 4 then 'acknowledged_not_invoiced'
            when s.account_id = 6 then 'missed_invoice'
            when s.account_id = 7 then 'rejected'
            else 'in_review'
        end as state,
        s.quantity,
        s.oldest_event_at,
        coalesce(n.stripe_customer, u.stripe_customer, c.stripe_customer, case when starts_with(h.customer, 'cus_') then h.customer end)
            as stripe_customer,
        coalesce(n.stripe_event_name, u.stripe_event_name) as stripe_event_name,
        x.amount_missed_minor,
        v.subscription_item_id as missed_item, v.period_start as missed_start, v.period_end as missed_end, v.currency as missed_currency
    from standing s
    join derived.subject h on h.subject_id = s.subject_id
    left join ops.uncovered_segment u on s.account_id = 2 and u.subject_id = s.subject_id and u.segment_start = s.segment_start
    left join (
        select distinct on (m.customer) m.customer, m.stripe_customer
        from ledger.customer_mapping m
        order by m.customer, m.mapping_id desc
    ) c on c.customer = h.customer
    left join ledger.never_billed_customer w on w.customer = h.customer
    left join ledger.intent i on i.intent_id = s.intent_id
    left join ledger.lane n on n.lane_id = i.lane_id
    left join (
        select distinct on (o.intent_id) o.intent_id, o.class
        from ledger.outcome o
        order by o.intent_id, o.outcome_id desc
    ) a on a.intent_id = s.intent_id
    left join ledger.invoice_allocation x on s.account_id = 6 and x.intent_id = s.intent_id
    left join ledger.invoice_posting v on v.invoice_posting_id = x.invoice_posting_id
), priced as (
    -- The item's period that holds it; of two that count the same usage, the one that began last.
    select distinct on (n.number)
        n.*, coalesce(p.subscription_item_id, n.missed_item, w.subscription_item_id) as subscription_item_id,
        coalesce(p.period_start, n.missed_start, w.period_start) as period_start,
        coalesce(p.period_end, n.missed_end, w.period_end) as period_end, coalesce(p.finalizes_at, w.finalizes_at) as finalizes_at,
        case when p.subscription_item_id is null then w.unit_amount_decimal
            else derived.margin_at(p.subscription_item_id, p.stripe_event_name, p.period_end, n.used_at)
        end as unit_amount_decimal,
        coalesce(p.currency, n.missed_currency, w.currency) as currency
    from named n
    left join meter_name e on e.meter = n.meter and (n.stripe_event_name is null or n.stripe_event_name = e.stripe_event_name)
    left join derived.item_period p
        on p.stripe_customer = n.stripe_customer and p.stripe_event_name = coalesce(n.stripe_event_name, e.stripe_event_name)
        and p.period_start <= n.used_at and p.period_end > n.used_at
    -- A swap left the meter: its item's period names another one now, and the coming invoice bills this one all the same.
    left join lateral (
        select l.subscription_item_id, t.period_start, t.period_end, d.finalizes_at, t.currency, x.unit_amount_decimal
        from derived.standing_line l
        join derived.told_period t on t.subscription_item_id = l.subscription_item_id and t.stripe_event_name = l.stripe_event_name
            and t.period_start <= n.used_at and t.period_end > n.used_at
        join derived.period d on d.subscription_item_id = t.subscription_item_id and d.period_start = t.period_start
        left join ops.marginal_price x
            on x.subscription_item_id = l.subscription_item_id and x.period_start = l.period_start and x.stripe_event_name = l.stripe_event_name
        where p.subscription_item_id is null and n.state = 'acknowledged_not_invoiced'
            and l.stripe_customer = n.stripe_customer and l.stripe_event_name = n.stripe_event_name
            and l.period_start <= n.used_at and l.period_end > n.used_at
        order by t.period_start desc, l.subscription_item_id
        limit 1
    ) w on true
    order by n.number, p.period_start desc nulls last, p.subscription_item_id
), stated as (
    select
        p.*,
        case
            when p.state <> 'acknowledged_not_invoiced' or p.subscription_item_id is not null then null
            when r.ends_at is null then 'no subscription of the customer has a price for it'
            when p.used_at >= r.ends_at
                then format('no billing period covers it: the last one known ended at %s', to_char(r.ends_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
            when p.used_at < r.begins_at
                then format('no billing period covers it: the first one known began at %s', to_char(r.begins_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
            else 'no billing period covers it'
        end as why,
        -- Outside of every period it is worth what the last one would have charged.
        case when p.subscription_item_id is null then r.unit_amount_decimal else p.unit_amount_decimal end as worth_each,
        case when p.subscription_item_id is null then r.currency else p.currency end as worth_currency
    from priced p
    left join derived.item_reach r on r.stripe_customer = p.stripe_customer and r.stripe_event_name = p.stripe_event_name
)
select
    t.customer_id,
    t.meter,
    t.period_start,
    t.period_end,
    t.subscription_item_id,
    t.hour,
    ops.in_unit(sum(t.quantity), t.scale) as quantity,
    sum(t.quantity) as quantity_smallest,
    t.state,
    min(t.oldest_event_at) as oldest_event_at,
    t.finalizes_at - coalesce((
        select v.close_margin_seconds from ledger.meter_version v where v.meter = t.meter order by v.version desc limit 1
    ), 600) * interval '1 s' as deadline,
    case
        when t.state = 'missed_invoice' then case when count(t.amount_missed_minor) = count(*) then ops.to_minor_units(sum(t.amount_missed_minor)) end
        else ops.to_minor_units(ops.in_unit(sum(t.quantity), t.scale) * t.worth_each)
    end as amount_at_risk_minor,
    t.worth_currency as currency,
    ops.now() as as_of,
    t.why
from stated t
group by t.customer_id, t.meter, t.scale, t.period_start, t.period_end, t.subscription_item_id, t.finalizes_at, t.worth_each,
    t.worth_currency, t.hour, t.state, t.why;

comment on view finance.unbilled_usage is 'Recorded usage that is on no invoice yet, per customer, meter and hour of use, by the state that keeps it off.';
comment on column finance.unbilled_usage.customer_id is 'Our id of the customer.';
comment on column finance.unbilled_usage.meter is 'Meter of the catalogue.';
comment on column finance.unbilled_usage.period_start is 'Start of the billing period it belongs to, inclusive; null while the period is not known.';
comment on column finance.unbilled_usage.period_end is 'End of that billing period, exclusive; null while the period is not known.';
comment on column finance.unbilled_usage.subscription_item_id is 'Stripe''s subscription item that would bill it; null while the period is not known.';
comment on column finance.unbilled_usage.hour is 'Start of the UTC hour in which the usage happened.';
comment on column finance.unbilled_usage.quantity is 'Quantity in the meter''s unit.';
comment on column finance.unbilled_usage.quantity_smallest is 'The same as an integer, in the meter''s smallest unit.';
comment on column finance.unbilled_usage.state is 'unsent; in_flight (a call to Stripe is planned or open); unknown (in flight, the answer never came); acknowledged_not_invoiced (Stripe received it); missed_invoice; rejected (Stripe refused it); in_review (late, a person decides); unmapped (no Stripe customer); no_plan and ambiguous_plan (the meter is counted per plan); no_price (no subscription of the customer has a price for it).';
comment on column finance.unbilled_usage.oldest_event_at is 'Event time of the oldest usage in the row.';
comment on column finance.unbilled_usage.deadline is 'Until when it can still reach its own invoice; null while the period is not known.';
comment on column finance.unbilled_usage.amount_at_risk_minor is 'What it is worth at the customer''s marginal price, outside of every billing period at the last one''s, in minor units of the currency; null where no price is known, or where 64 bits do not hold it.';
comment on column finance.unbilled_usage.currency is 'ISO 4217 currency of the amount; null where no price is known.';
comment on column finance.unbilled_usage.as_of is 'When this row was computed.';
comment on column finance.unbilled_usage.why is 'Why usage that Stripe received can be on no invoice as things stand: no billing period covers it. Null otherwise.';
