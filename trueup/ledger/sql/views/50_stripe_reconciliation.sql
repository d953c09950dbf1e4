-- The ledger beside Stripe's summaries, hour by hour.
create view finance.stripe_reconciliation as
with used as (
    select
        p.subject_id,
        date_trunc('hour', p.segment_start, 'UTC') as hour_start,
        sum(case when p.from_account = 1 then p.quantity else -p.quantity end) as quantity
    from ledger.posting p
    where 1 in (p.from_account, p.to_account)
    group by p.subject_id, date_trunc('hour', p.segment_start, 'UTC')
), ledger_hour as (
    select s.customer, s.meter, u.hour_start, u.quantity
    from used u
    join derived.subject s on s.subject_id = u.subject_id
), lane_hour as (
    -- A meter that is counted per plan has several lanes; opposite faults in two of them must not hide each other.
    select
        l.customer,
        l.meter,
        h.hour_start,
        sum(h.acknowledged) as acknowledged,
        sum(h.in_flight) as in_flight,
        case when count(h.read_at) = count(*) then sum(h.stripe) end as stripe,
        min(h.read_at) as read_at,
        bool_and(h.settled) as settled,
        (array_agg(h.explanation order by array_position(
            array['unexplained', 'foreign_event', 'sent_twice', 'rejected', 'window_edge', 'unknown_outcome', 'in_flight', 'not_settled', 'agrees'],
            h.explanation
        )))[1] as explanation
    from derived.lane_hour_explained h
    join derived.lane l on l.lane_id = h.lane_id
    group by l.customer, l.meter, h.hour_start
), closing as materialized (
    select q.customer, q.meter, q.period_start, q.period_end, q.deadline from derived.period_subject q
), late_hour as (
    -- Usage that came when its period was closed: given to a person as it was captured or as it should have been sent, or received by
    -- Stripe when the invoice was final, and so on none.
    select s.customer, s.meter, date_trunc('hour', p.segment_start, 'UTC') as hour_start
    from ledger.posting p
    join ledger.batch b on b.batch_id = p.batch_id
    join derived.subject s on s.subject_id = p.subject_id
    join closing q on q.customer = s.customer and q.meter = s.meter and q.period_start <= p.segment_start and q.period_end > p.segment_start
    where p.to_account = 8 and p.from_account in (1, 3) and b.recorded_at >= q.deadline
    union
    select s.customer, s.meter, date_trunc('hour', i.stripe_timestamp, 'UTC')
    from ledger.invoice_allocation a
    join ledger.invoice_posting v on v.invoice_posting_id = a.invoice_posting_id
    left join ledger.invoice_snapshot n on n.snapshot_id = v.snapshot_id
    join ledger.intent i on i.intent_id = a.intent_id
    join ledger.outcome o on o.intent_id = i.intent_id and o.final
    join derived.subject s on s.subject_id = i.subject_id
    where a.quantity_missed <> 0 and o.recorded_at >= coalesce(n.finalized_at, v.period_end)
), lanes as (
    select distinct l.customer, l.meter from derived.lane l
)
select
    coalesce(s.customer, u.customer) as customer_id,
    coalesce(s.meter, u.meter) as meter,
    coalesce(s.hour_start, u.hour_start) as hour_start,
    ops.in_unit(coalesce(u.quantity, 0), coalesce(m.scale, 0)) as quantity_ledger,
    ops.in_unit(coalesce(s.acknowledged, 0), coalesce(m.scale, 0)) as quantity_acknowledged,
    ops.in_unit(coalesce(s.in_flight, 0), coalesce(m.scale, 0)) as quantity_in_flight,
    ops.in_unit(s.stripe, coalesce(m.scale, 0)) as quantity_stripe,
    ops.in_unit(s.stripe - s.acknowledged, coalesce(m.scale, 0)) as difference,
    case
        when e.hour_start is not null and coalesce(s.explanation, 'agrees') = 'agrees' then 'late_after_close'
        else coalesce(s.explanation, 'not_settled')
    end as explanation,
    s.read_at,
    coalesce(s.settled, false) as settled,
    s.stripe - s.acknowledged as difference_smallest,
    coalesce(m.unit, '') as unit
from lane_hour s
full join (
    select h.* from ledger_hour h join lanes n on n.customer = h.customer and n.meter = h.meter
) u on u.customer = s.customer and u.meter = s.meter and u.hour_start = s.hour_start
left join derived.meter m on m.meter = coalesce(s.meter, u.meter)
left join late_hour e
    on e.customer = coalesce(s.customer, u.customer) and e.meter = coalesce(s.meter, u.meter)
    and e.hour_start = coalesce(s.hour_start, u.hour_start);

comment on view finance.stripe_reconciliation is 'Per customer, meter and hour: what the ledger holds and what Stripe''s meter summaries say, with one explanation of every difference. Summaries are what Stripe received, not what it billed.';
comment on column finance.stripe_reconciliation.customer_id is 'Our id of the customer.';
comment on column finance.stripe_reconciliation.meter is 'Meter of the catalogue.';
comment on column finance.stripe_reconciliation.hour_start is 'Start of the UTC hour, by the timestamp that Stripe was told.';
comment on column finance.stripe_reconciliation.quantity_ledger is 'All usage of that hour in the ledger, sent or not, in the meter''s unit.';
comment on column finance.stripe_reconciliation.quantity_acknowledged is 'What Stripe has acknowledged of that hour, in the meter''s unit.';
comment on column finance.stripe_reconciliation.quantity_in_flight is 'What is on its way to Stripe without a final answer, in the meter''s unit.';
comment on column finance.stripe_reconciliation.quantity_stripe is 'Stripe''s summary of that hour when it was last read, in the meter''s unit; null while it was not read.';
comment on column finance.stripe_reconciliation.difference is 'quantity_stripe minus quantity_acknowledged.';
comment on column finance.stripe_reconciliation.explanation is 'agrees; in_flight; not_settled (Stripe may still be counting, or was not read since); rejected; unknown_outcome (an answer never came); late_after_close; foreign_event (somebody else sent usage); sent_twice; window_edge (the next hour has the opposite difference); unexplained (an alert).';
comment on column finance.stripe_reconciliation.read_at is 'When Stripe was last read for that hour.';
comment on column finance.stripe_reconciliation.settled is 'True when nothing of that hour is on its way and Stripe was read long enough after its last answer.';
comment on column finance.stripe_reconciliation.difference_smallest is 'The difference as an integer, in the meter''s smallest unit.';
comment on column finance.stripe_reconciliation.unit is 'The meter''s unit.';
