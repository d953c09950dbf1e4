-- Every table of schema ledger refuses update, delete and truncate, from everybody, also in replica mode (ENABLE ALWAYS).
do $$
declare
    guarded record;
begin
    for guarded in
        select c.relname as name
        from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'ledger' and c.relkind in ('r', 'p')
    loop
        if not exists (
            select from pg_catalog.pg_trigger t
            where t.tgrelid = format('ledger.%I', guarded.name)::regclass and t.tgname = 'refuse_row_change'
        ) then
            execute format(
                'create trigger refuse_row_change before update or delete on ledger.%I for each row execute function ledger.refuse_change()',
                guarded.name
            );
        end if;
        if not exists (
            select from pg_catalog.pg_trigger t
            where t.tgrelid = format('ledger.%I', guarded.name)::regclass and t.tgname = 'refuse_truncate'
        ) then
            execute format(
                'create trigger refuse_truncate before truncate on ledger.%I for each statement execute function ledger.refuse_change()',
                guarded.name
            );
        end if;
        execute format('alter table ledger.%I enable always trigger refuse_row_change', guarded.name);
        execute format('alter table ledger.%I enable always trigger refuse_truncate', guarded.name);
    end loop;
end $$;
