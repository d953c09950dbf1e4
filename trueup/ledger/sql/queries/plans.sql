-- name: add
-- From an instant on, a customer is on a plan; the same cause makes one fact.
insert into ledger.plan_fact (customer, plan, effective_from, subscription_id, cause_key, recorded_at)
values (%(customer)s, %(plan)s, to_timestamp(%(effective_from_ms)s / 1000.0), %(subscription_id)s, %(cause_key)s, ops.now())
on conflict (cause_key) do nothing;

-- name: lock_customer
-- Until the transaction ends: what is completed by what stands there must stand still.
select pg_advisory_xact_lock(hashtextextended('plans:' || %(customer)s, 0));

-- name: last_catalogue_with
-- The last version in which usage was counted by this plan, unless that is the newest of all: then the plan is not gone.
select v.content_toml
from ledger.catalogue_version v
where v.version = (select max(e.version) from ledger.meter_event_name e where e.plan = %(plan)s)
    and v.version < (select max(x.version) from ledger.catalogue_version x);

-- name: timeline
-- The plans of a customer, oldest first.
select f.customer, f.plan, (extract(epoch from f.effective_from) * 1000)::bigint, f.subscription_id
from ledger.plan_fact f
where f.customer = %(customer)s
order by f.effective_from, f.plan_fact_id;

-- name: of_subscription
select ledger.milliseconds(f.effective_from), f.plan, ledger.milliseconds(f.recorded_at)
from ledger.plan_fact f
where f.customer = %(customer)s and f.subscription_id = %(subscription_id)s
order by f.effective_from, f.plan_fact_id;

-- name: told
-- What each event says a subscription's prices were from then on, and before where it says that they changed. One that ended says
-- nothing: it keeps its last prices. Of one second, which order they came in is not told; only that it was made before it was changed.
select
    ledger.milliseconds(e.created),
    array(select jsonb_path_query(e.body, '$.data.object.items.data[*].price.id') #>> '{}') as prices,
    case
        when jsonb_path_exists(e.body, '$.data.previous_attributes.items')
            then array(select jsonb_path_query(e.body, '$.data.previous_attributes.items.data[*].price.id') #>> '{}')
    end as before
from ledger.stripe_event e
where e.object_id = %(subscription_id)s and e.type in ('customer.subscription.created', 'customer.subscription.updated')
order by e.created, e.type, e.event_id;
