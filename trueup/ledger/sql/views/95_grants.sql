-- The rooms and the readers' tools may look at what finance is computed from; it shows nothing that finance does not.
grant usage on schema derived to trueup_writer, finance_ro, usage_ro;
grant select on all tables in schema derived to trueup_writer, finance_ro, usage_ro;
revoke all on all functions in schema derived from public;
grant execute on all functions in schema derived to trueup_writer, finance_ro, usage_ro;
