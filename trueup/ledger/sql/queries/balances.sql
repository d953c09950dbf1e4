-- name: by_customer_and_meter
-- What stands in each account, per customer and meter, in the smallest unit.
select s.customer, s.meter, a.name as account, sum(l.quantity)::text as quantity
from (
    select p.subject_id, p.to_account as account_id, p.quantity from ledger.posting p
    union all
    select p.subject_id, p.from_account, -p.quantity from ledger.posting p
) l
join ledger.subject s on s.subject_id = l.subject_id
join ledger.account a on a.account_id = l.account_id
group by s.customer, s.meter, a.name
having sum(l.quantity) <> 0;

-- name: outcomes
-- How every delivery ended, counted over all source partitions.
select
    (select count(*) from ledger.event e where not e.late) as on_time,
    (select count(*) from ledger.event e where e.late) as late,
    coalesce(sum(b.duplicate_events + b.ledger_duplicate_events), 0)::bigint as duplicate,
    coalesce(sum(b.conflict_events), 0)::bigint as conflict,
    coalesce(sum(b.refused_events), 0)::bigint as refused,
    coalesce(sum(b.arrived_events), 0)::bigint as arrived
from ledger.source_batch b;

-- name: events
-- Every accepted event and whether it was late.
select e.source, e.id, e.late from ledger.event e;

-- name: refusals
-- Refused deliveries by reason.
select r.reason, count(*) from ledger.refusal r group by r.reason;

-- name: cases_without_amount
-- Cases of usage whose billing period is known, and whose worth is not.
select count(*) from finance.review_queue r where r.kind <> 'conflict' and r.deadline is not null and r.amount_minor is null;
