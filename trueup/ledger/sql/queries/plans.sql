-- name: add
-- From an instant on, a customer is on a plan; the same cause makes one fact.
insert into ledger.plan_fact (customer, plan, effective_from, subscription_id, cause_key, recorded_at)
values (%(customer)s, %(plan)s, to_timestamp(%(effective_from_ms)s / 1000.0), %(subscription_id)s, %(cause_key)s, ops.now())
on conflict (cause_key) do nothing;

-- name: timeline
-- The plans of a customer, oldest first.
select f.customer, f.plan, (extract(epoch from f.effective_from) * 1000)::bigint, f.subscription_id
from ledger.plan_fact f
where f.customer = %(customer)s
order by f.effective_from, f.plan_fact_id;
