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

-- name: uncommented
-- Tables and columns of schemas ledger and ops that say nothing about themselves.
select n.nspname || '.' || c.relname || coalesce('.' || a.attname, '') as what
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join lateral (
    select null::name as attname, 0 as attnum
    union all
    select a.attname, a.attnum from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
) a on true
where n.nspname in ('ledger', 'ops', 'finance') and c.relkind in ('r', 'p', 'v')
  and pg_catalog.col_description(c.oid, a.attnum) is null
  and (a.attnum > 0 or pg_catalog.obj_description(c.oid, 'pg_class') is null)
order by 1;

-- name: stands_at
-- The newest migration that was run here.
select v.version_num from ops.alembic_version v;

-- name: refuse_another_migration
-- The first lines of a script that was written for a database at one migration.
do $$
begin
    if (select v.version_num from ops.alembic_version v) is distinct from '{migration}' then
        raise exception 'this script is for a ledger at migration {migration}; write another one with trueup migrate --sql';
    end if;
end $$;
