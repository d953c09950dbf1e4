-- Who may do what. Nobody who can log in may change a ledger row; the writer appends there and moves what is in ops.
grant usage on schema ledger, ops, finance to trueup_writer;
grant select, insert on all tables in schema ledger to trueup_writer;
grant usage, select on all sequences in schema ledger to trueup_writer;
grant select, insert, update, delete on all tables in schema ops to trueup_writer;
grant usage, select on all sequences in schema ops to trueup_writer;
-- The street's clock and the schema's version are not the writer's to set.
revoke insert, update, delete on ops.simulated_clock, ops.alembic_version from trueup_writer;
grant select on all tables in schema finance to trueup_writer;
grant usage on schema finance to finance_ro, usage_ro;
grant select on all tables in schema finance to finance_ro, usage_ro;
revoke all on all functions in schema ledger, ops from public;
grant execute on all functions in schema ops to trueup_writer, finance_ro, usage_ro;
grant execute on all functions in schema ledger to trueup_writer;

reset role;
