-- A new ledger on topics of which retention took the beginning starts where they begin.
alter table ops.source_offset add column beginning bigint not null default 0;
