-- A new ledger on old topics says from which offset of the source topic on it can hold anything: what lies before is captured nowhere.
alter table ops.source_offset add column source_offset bigint;
