-- A swap in the middle of a period leaves lines of two meters on one item, each at its own price.
-- squawk-ignore constraint-missing-not-valid, disallowed-unique-constraint, require-concurrent-index-creation
alter table ops.marginal_price
drop constraint marginal_price_pkey,
add primary key (subscription_item_id, stripe_event_name, period_start);
