-- What must stand before the first migration: one migration at a time in this database, and the schemas, owned by trueup_owner.
select pg_catalog.pg_advisory_xact_lock(7305102);
set local lock_timeout = '20s';
set local search_path = pg_catalog;
do $$
begin
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to trueup_owner, trueup_writer, finance_ro, usage_ro', current_database());
    execute format('grant create on database %I to trueup_owner', current_database());
    if exists (select from pg_catalog.pg_namespace where nspname = 'public') then
        revoke all on schema public from public;
    end if;
end $$;
set local role trueup_owner;
create schema if not exists ledger authorization trueup_owner;
create schema if not exists ops authorization trueup_owner;
