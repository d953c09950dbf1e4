-- Roles of the whole cluster. Nothing is altered that is right already: two databases may run this at once, and altering the
-- same role at the same moment fails. Passwords are the DBA's.
do $$
declare
    wanted record;
    setting record;
begin
    for wanted in
        select * from (values ('trueup_owner', false), ('trueup_writer', true), ('finance_ro', true), ('usage_ro', true)) as w (name, login)
    loop
        if not exists (select from pg_catalog.pg_roles r where r.rolname = wanted.name) then
            begin
                execute format(
                    'create role %I %s nosuperuser nocreatedb nocreaterole noreplication nobypassrls',
                    wanted.name, case when wanted.login then 'login' else 'nologin' end
                );
            exception when duplicate_object or unique_violation then
                null;  -- another database was first
            end;
        end if;
        if exists (
            select from pg_catalog.pg_roles r
            where r.rolname = wanted.name
              and (r.rolsuper or r.rolcreatedb or r.rolcreaterole or r.rolreplication or r.rolbypassrls or r.rolcanlogin <> wanted.login)
        ) then
            execute format(
                'alter role %I %s nosuperuser nocreatedb nocreaterole noreplication nobypassrls',
                wanted.name, case when wanted.login then 'login' else 'nologin' end
            );
        end if;
    end loop;
    for setting in
        select * from (values
            ('trueup_writer', 'search_path', 'pg_catalog'),
            -- The finance views and the proof are long statements over few rows: compiling them takes longer than running them.
            ('trueup_writer', 'jit', 'off'),
            ('finance_ro', 'jit', 'off'),
            ('usage_ro', 'jit', 'off'),
            ('finance_ro', 'search_path', 'finance, pg_catalog'),
            ('finance_ro', 'default_transaction_read_only', 'on'),
            ('finance_ro', 'statement_timeout', '60s'),
            ('finance_ro', 'idle_in_transaction_session_timeout', '60s'),
            ('usage_ro', 'search_path', 'finance, pg_catalog'),
            ('usage_ro', 'default_transaction_read_only', 'on'),
            ('usage_ro', 'statement_timeout', '60s'),
            ('usage_ro', 'idle_in_transaction_session_timeout', '60s')
        ) as s (role_name, name, value)
    loop
        if not exists (
            select from pg_catalog.pg_db_role_setting d
            join pg_catalog.pg_roles r on r.oid = d.setrole
            where r.rolname = setting.role_name and d.setdatabase = 0 and setting.name || '=' || setting.value = any(d.setconfig)
        ) then
            execute format(
                'alter role %I set %I = %s', setting.role_name, setting.name,
                case when setting.name = 'search_path' then setting.value else quote_literal(setting.value) end
            );
        end if;
    end loop;
    if not pg_catalog.pg_has_role(current_user, 'trueup_owner', 'member') then
        execute format('grant trueup_owner to %I', current_user);
    end if;
end $$;
