-- A period's usage in a meter's smallest unit may be more than 64 bits hold, though every event and every intent is far below.
-- The views over the table stand in the way; they are code, and made anew after every migration.
-- squawk-ignore ban-drop-schema
drop schema if exists finance cascade;
-- squawk-ignore ban-drop-schema
drop schema if exists derived cascade;

-- A row for each item of each invoice: small, and rewritten at once.
alter table ledger.invoice_posting
-- squawk-ignore changing-column-type
alter column quantity_billed type numeric(38, 0),
-- squawk-ignore changing-column-type
alter column quantity_acknowledged type numeric(38, 0),
-- squawk-ignore changing-column-type
alter column quantity_invoiced type numeric(38, 0),
-- squawk-ignore changing-column-type
alter column quantity_missed type numeric(38, 0);
