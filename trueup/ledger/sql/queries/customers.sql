-- name: lock
-- One at a time says who a customer is at Stripe: who maps and who says never see each other. Held to the commit.
select pg_advisory_xact_lock(7305105);

-- name: in_force
-- The newest explicit mapping of a customer.
select m.stripe_customer
from ledger.customer_mapping m
where m.customer = %(customer)s
order by m.mapping_id desc
limit 1;

-- name: belongs_to
-- Whose a Stripe customer ever was.
select m.customer from ledger.customer_mapping m where m.stripe_customer = %(stripe_customer)s;

-- name: has_usage
select exists (select from ledger.subject s where s.customer = %(customer)s);

-- name: known
-- Whether anything was ever said or counted of a customer.
select exists (select from ledger.customer_mapping m where m.customer = %(customer)s)
    or exists (select from ledger.never_billed_customer n where n.customer = %(customer)s)
    or exists (select from ledger.subject s where s.customer = %(customer)s);

-- name: add
insert into ledger.customer_mapping (customer, stripe_customer, reason, recorded_by, recorded_at)
values (%(customer)s, %(stripe_customer)s, %(reason)s, %(recorded_by)s, ops.now());

-- name: is_never_billed
select exists (select from ledger.never_billed_customer n where n.customer = %(customer)s);

-- name: add_never_billed
insert into ledger.never_billed_customer (customer, reason, recorded_by, recorded_at)
values (%(customer)s, %(reason)s, %(recorded_by)s, ops.now());

-- name: never_billed
select n.customer, n.reason, n.recorded_by, ledger.milliseconds(n.recorded_at)
from ledger.never_billed_customer n
where %(customer)s::text is null or n.customer = %(customer)s
order by n.never_billed_id;

-- name: resolve
select c.customer, ledger.stripe_customer_of(c.customer)
from unnest(%(customers)s::text[]) c (customer);

-- name: timeline
select m.customer, m.stripe_customer, m.reason, m.recorded_by, ledger.milliseconds(m.recorded_at)
from ledger.customer_mapping m
where %(customer)s::text is null or m.customer = %(customer)s
order by m.mapping_id;
