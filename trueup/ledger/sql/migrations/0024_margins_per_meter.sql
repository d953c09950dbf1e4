-- A swap in the middle of a period leaves lines of two meters on one item, each at its own price. The table is small, and is written only
-- when invoices were read.
alter table ops.marginal_price
-- squawk-ignore ban-drop-constraint
drop constraint marginal_price_pkey,
-- squawk-ignore constraint-missing-not-valid, adding-serial-primary-key-field
add primary key (subscription_item_id, stripe_event_name, period_start);
