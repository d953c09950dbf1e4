-- A customer's plans are looked up for every segment that waits, and at capture for every customer of a batch.
-- squawk-ignore require-concurrent-index-creation
create index plan_fact_customer on ledger.plan_fact (customer, effective_from);
