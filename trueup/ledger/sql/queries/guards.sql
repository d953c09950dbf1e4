-- name: unguarded_tables
-- Tables of schema ledger that do not refuse update, delete and truncate from everybody.
select c.relname
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'ledger' and c.relkind in ('r', 'p') and (
    select count(*) from pg_catalog.pg_trigger t
    where t.tgrelid = c.oid and t.tgname in ('refuse_row_change', 'refuse_truncate') and t.tgenabled = 'A'
      and t.tgfoid = 'ledger.refuse_change'::regproc
) <> 2
order by c.relname;
