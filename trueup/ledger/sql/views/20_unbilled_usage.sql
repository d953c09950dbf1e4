-- Usage that is on no invoice, by what keeps it off.
create view finance.unbilled_usage as
with legs as (
    select p.subject_id, p.segment_start, p.intent_id, p.to_account as account_id, p.quantity, p.oldest_event_time
    from ledger.posting p
    union all
    select p.subject_id, p.segment_start, p.intent_id, p.from_account, -p.quantity, p.oldest_event_time
    from ledger.posting p
), standing as (
    -- What is in flight is kept apart by intent, since each has its own answer; all else by segment.
    select
        l.subject_id,
        l.segment_start,
        l.account_id,
        case when l.account_id = 3 then l.intent_id end as intent_id,
        sum(l.quantity) as quantity,
        min(l.oldest_event_time) as oldest_event_at
    from legs l
    where l.account_id in (2, 3, 4, 6, 7, 8)
    group by l.subject_id, l.segment_start, l.account_id, case when l.account_id = 3 then l.intent_id end
    having sum(l.quantity) <> 0
), named as (
    select
        h.customer as customer_id,
        h.meter,
        h.scale,
        date_trunc('hour', s.segment_start, 'UTC') as hour,
        case
            when s.account_id = 2
                then case coalesce(u.waits_for, case when c.customer is null and not starts_with(h.customer, 'cus_') then 'unmapped' end)
                    when 'unmapped' then 'unmapped'
                    when 'no_plan' then 'no_plan'
                    when 'no_event_name' then 'no_plan'
                    else 'unsent'
                end
            when s.account_id = 3 and a.class = 'unknown' then 'unknown'
            when s.account_id = 3 then 'in_flight'
            when s.account_id = 4 then 'acknowledged_not_invoiced'
            when s.account_id = 6 then 'missed_invoice'
            when s.account_id = 7 then 'rejected'
            else 'in_review'
        end as state,
        s.quantity,
        s.oldest_event_at
    from standing s
    join derived.subject h on h.subject_id = s.subject_id
    left join ops.uncovered_segment u on s.account_id = 2 and u.subject_id = s.subject_id and u.segment_start = s.segment_start
    left join (select distinct m.customer from ledger.customer_mapping m) c on c.customer = h.customer
    left join (
        select distinct on (o.intent_id) o.intent_id, o.class
        from ledger.outcome o
        order by o.intent_id, o.outcome_id desc
    ) a on a.intent_id = s.intent_id
)
select
    n.customer_id,
    n.meter,
    null::timestamptz as period_start,
    null::timestamptz as period_end,
    null::text as subscription_item_id,
    n.hour,
    ops.in_unit(sum(n.quantity), n.scale) as quantity,
    sum(n.quantity) as quantity_smallest,
    n.state,
    min(n.oldest_event_at) as oldest_event_at,
    null::timestamptz as deadline,
    null::bigint as amount_at_risk_minor,
    null::text as currency,
    ops.now() as as_of
from named n
group by n.customer_id, n.meter, n.scale, n.hour, n.state;

comment on view finance.unbilled_usage is 'Recorded usage that is on no invoice yet, per customer, meter and hour of use, by the state that keeps it off.';
comment on column finance.unbilled_usage.customer_id is 'Our id of the customer.';
comment on column finance.unbilled_usage.meter is 'Meter of the catalogue.';
comment on column finance.unbilled_usage.period_start is 'Start of the billing period it belongs to, inclusive; null while the period is not known.';
comment on column finance.unbilled_usage.period_end is 'End of that billing period, exclusive; null while the period is not known.';
comment on column finance.unbilled_usage.subscription_item_id is 'Stripe''s subscription item that would bill it; null while the period is not known.';
comment on column finance.unbilled_usage.hour is 'Start of the UTC hour in which the usage happened.';
comment on column finance.unbilled_usage.quantity is 'Quantity in the meter''s unit.';
comment on column finance.unbilled_usage.quantity_smallest is 'The same as an integer, in the meter''s smallest unit.';
comment on column finance.unbilled_usage.state is 'unsent; in_flight (a call to Stripe is planned or open); unknown (in flight, the answer never came); acknowledged_not_invoiced (Stripe received it); missed_invoice; rejected (Stripe refused it); in_review (late, a person decides); unmapped (no Stripe customer); no_plan and ambiguous_plan (the meter is counted per plan); no_price.';
comment on column finance.unbilled_usage.oldest_event_at is 'Event time of the oldest usage in the row.';
comment on column finance.unbilled_usage.deadline is 'Until when it can still reach its own invoice; null while the period is not known.';
comment on column finance.unbilled_usage.amount_at_risk_minor is 'What it is worth at the customer''s marginal price, in minor units of the currency; null where no price is known.';
comment on column finance.unbilled_usage.currency is 'ISO 4217 currency of the amount; null where no price is known.';
comment on column finance.unbilled_usage.as_of is 'When this row was computed.';
