-- Every Stripe customer of ours with every Stripe meter of its plans that nothing was ever sent for: Stripe should have nothing either.
-- A meter that is counted per plan is asked about for the plans the customer ever had; for all of them while no plan is known.
create view derived.silent_pair as
with newest as (
    select v.version, v.recorded_at from ledger.catalogue_version v order by v.version desc limit 1
), known as (
    select m.customer, m.stripe_customer, m.recorded_at from ledger.customer_mapping m
    union all
    select s.customer, s.customer, null
    from ledger.subject s
    where starts_with(s.customer, 'cus_') and not exists (select from ledger.customer_mapping m where m.stripe_customer = s.customer)
), pair as (
    select k.stripe_customer, e.stripe_event_name, min(k.customer) as customer, min(e.meter) as meter,
        greatest(min(k.recorded_at), min(n.recorded_at)) as since
    from known k
    cross join newest n
    join ledger.meter_event_name e on e.version = n.version
    where e.plan = ''
        or exists (select from ledger.plan_fact f where f.customer = k.customer and f.plan = e.plan)
        or not exists (select from ledger.plan_fact f where f.customer = k.customer)
    group by k.stripe_customer, e.stripe_event_name
)
select p.stripe_customer, p.stripe_event_name, p.customer, p.meter, m.scale, m.roll_up_seconds, p.since, r.read_at
from pair p
join derived.meter m on m.meter = p.meter
left join ops.stripe_pair_read r on r.stripe_customer = p.stripe_customer and r.stripe_event_name = p.stripe_event_name
where not exists (
    select from ledger.lane l where l.stripe_customer = p.stripe_customer and l.stripe_event_name = p.stripe_event_name
);
