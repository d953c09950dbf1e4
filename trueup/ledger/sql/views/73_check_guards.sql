-- Checks of the database itself: nobody may change what was written, and who may do what.

create view derived.check_append_only_guards as
with guarded as (
    select
        c.oid,
        exists (
            -- Bits of tgtype: 1 row, 2 before, 8 delete, 16 update, 32 truncate.
            select from pg_catalog.pg_trigger t
            where t.tgrelid = c.oid and t.tgenabled = 'A' and not t.tgisinternal
                and t.tgfoid = f.oid and t.tgtype & 27 = 27 and t.tgqual is null
        ) as refuses_row_change,
        exists (
            select from pg_catalog.pg_trigger t
            where t.tgrelid = c.oid and t.tgenabled = 'A' and not t.tgisinternal
                and t.tgfoid = f.oid and t.tgtype & 35 = 34 and t.tgqual is null
        ) as refuses_truncate,
        exists (
            select from pg_catalog.pg_rewrite r where r.ev_class = c.oid and r.ev_type in ('2', '4')
        ) as has_rules
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    cross join (
        select p.oid
        from pg_catalog.pg_proc p
        join pg_catalog.pg_namespace n on n.oid = p.pronamespace
        where n.nspname = 'ledger' and p.proname = 'refuse_change'
    ) f
    where n.nspname = 'ledger' and c.relkind in ('r', 'p')
), refusing as (
    select count(*) as functions
    from pg_catalog.pg_proc p
    join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'ledger' and p.proname = 'refuse_change'
        and p.prosrc ~ '^\s*begin\s+raise exception ''ledger\.% is append-only: % is refused'', tg_table_name, tg_op using errcode = ''restrict_violation'';\s+end\s*$'
)
select
    'append_only_guards' as check_name,
    count(*) + 1 as evaluated,
    count(*) filter (where not g.refuses_row_change or not g.refuses_truncate or g.has_rules)
        + case when (select r.functions from refusing r) = 1 then 0 else 1 end as violations,
    0::bigint as stale,
    0::bigint as pending,
    null::timestamptz as oldest_pending_at,
    null::bigint as pending_limit_seconds,
    ops.now() as basis_as_of,
    true as required,
    'Every table of schema ledger refuses update, delete and truncate from everybody (triggers enabled always), and the function behind it does refuse.' as meaning
from guarded g;

create view derived.check_roles_and_grants as
with ours as (
    select n.oid, n.nspname, n.nspowner
    from pg_catalog.pg_namespace n
    where n.nspname in ('ledger', 'ops', 'finance', 'derived')
), owner as (
    select r.oid from pg_catalog.pg_roles r where r.rolname = 'trueup_owner'
), login as (
    -- A superuser and the database's owner can't be kept out by grants: the triggers stop them.
    select r.oid, r.rolname
    from pg_catalog.pg_roles r
    join pg_catalog.pg_database d on d.datname = pg_catalog.current_database()
    where r.rolcanlogin and not r.rolsuper and r.oid <> d.datdba
), relation as (
    select c.oid, c.relowner, o.nspname
    from pg_catalog.pg_class c
    join ours o on o.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f')
), fault as (
    select 'a role is missing' as what, count(*) as faults
    from (values ('trueup_owner'), ('trueup_writer'), ('finance_ro'), ('usage_ro')) as w (name)
    where not exists (select from pg_catalog.pg_roles r where r.rolname = w.name)
    union all
    select 'a role may do more than it should', count(*)
    from pg_catalog.pg_roles r
    where r.rolname in ('trueup_owner', 'trueup_writer', 'finance_ro', 'usage_ro')
        and (r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication or r.rolbypassrls
            or r.rolcanlogin <> (r.rolname <> 'trueup_owner'))
    union all
    select 'not owned by trueup_owner', count(*)
    from (
        select o.nspowner as owner from ours o
        union all
        select r.relowner from relation r
        union all
        select p.proowner from pg_catalog.pg_proc p join ours o on o.oid = p.pronamespace
    ) x
    where x.owner is distinct from (select owner.oid from owner)
    union all
    select 'somebody who can log in acts as the owner', count(*)
    from login l, owner
    where pg_catalog.pg_has_role(l.oid, owner.oid, 'member')
    union all
    select 'somebody who can log in may change the ledger', count(*)
    from login l, relation r
    where r.nspname = 'ledger'
        and (pg_catalog.has_table_privilege(l.oid, r.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER, REFERENCES')
            or pg_catalog.has_any_column_privilege(l.oid, r.oid, 'UPDATE, REFERENCES'))
    union all
    select 'somebody who can log in may create in our schemas', count(*)
    from login l, ours o
    where pg_catalog.has_schema_privilege(l.oid, o.oid, 'CREATE')
    union all
    select 'a reader sees more than the finance views', count(*)
    from login l, relation r
    where l.rolname in ('finance_ro', 'usage_ro') and r.nspname in ('ledger', 'ops')
        and (pg_catalog.has_table_privilege(l.oid, r.oid, 'SELECT, INSERT, UPDATE, DELETE')
            or pg_catalog.has_any_column_privilege(l.oid, r.oid, 'SELECT, INSERT, UPDATE'))
    union all
    select 'a reader may write', count(*)
    from login l, relation r
    where l.rolname in ('finance_ro', 'usage_ro') and r.nspname in ('finance', 'derived')
        and pg_catalog.has_table_privilege(l.oid, r.oid, 'INSERT, UPDATE, DELETE')
    union all
    select 'a function runs as its owner with the caller''s search path', count(*)
    from pg_catalog.pg_proc p
    join ours o on o.oid = p.pronamespace
    where p.prosecdef and not exists (select from unnest(p.proconfig) as c (setting) where c.setting like 'search\_path=%')
)
select
    'roles_and_grants' as check_name,
    (select count(*) from login) * (select count(*) from relation) as evaluated,
    sum(f.faults)::bigint as violations,
    0::bigint as stale,
    0::bigint as pending,
    null::timestamptz as oldest_pending_at,
    null::bigint as pending_limit_seconds,
    ops.now() as basis_as_of,
    true as required,
    'Everything belongs to a role that cannot log in; nobody who can log in may change a ledger row, and readers see the finance views only.' as meaning
from fault f;
