-- A hash of each of the facts that decide where usage goes, and of the records that people read of conflicts and refusals: written with
-- the row, by the row. What was changed, put in or taken out behind the triggers differs from its seal.
create table ledger.fact_seal (
    fact text not null,                        -- the table
    fact_id text not null,                     -- the row's key; of several columns, joined by a colon
    content_sha256 bytea not null,
    primary key (fact, fact_id)
);

-- A column that is added later is null in older rows, and so not in their hashes.
create function ledger.fact_hash(content jsonb) returns bytea language sql immutable set search_path = pg_catalog
as $$ select sha256(convert_to(jsonb_strip_nulls(content)::text, 'UTF8')) $$;

create function ledger.fact_key(content jsonb, columns text[]) returns text language sql immutable set search_path = pg_catalog
as $$ select string_agg(content ->> k.name, ':' order by k.place) from unnest(columns) with ordinality as k (name, place) $$;

create function ledger.seal_fact() returns trigger language plpgsql
set search_path = pg_catalog set timezone = 'UTC' set bytea_output = 'hex' as $$
declare
    content jsonb := to_jsonb(new);
begin
    insert into ledger.fact_seal values (tg_table_name, ledger.fact_key(content, tg_argv), ledger.fact_hash(content));
    return null;
end $$;

-- Every sealed row as it stands now.
create function ledger.facts() returns table (fact text, fact_id text, content_sha256 bytea)
language sql stable set search_path = pg_catalog set timezone = 'UTC' set bytea_output = 'hex' as $$
select f.fact, ledger.fact_key(f.content, f.columns), ledger.fact_hash(f.content)
from (
    select 'customer_mapping' as fact, array['mapping_id'] as columns, to_jsonb(t) as content from ledger.customer_mapping t
    union all
    select 'plan_fact', array['plan_fact_id'], to_jsonb(t) from ledger.plan_fact t
    union all
    select 'lane', array['lane_id'], to_jsonb(t) from ledger.lane t
    union all
    select 'arming', array['arming_id'], to_jsonb(t) from ledger.arming t
    union all
    select 'billing_period', array['period_id'], to_jsonb(t) from ledger.billing_period t
    union all
    select 'period_event', array['period_event_id'], to_jsonb(t) from ledger.period_event t
    union all
    select 'conflict', array['source_partition', 'source_offset'], to_jsonb(t) from ledger.conflict t
    union all
    select 'refusal', array['source_partition', 'source_offset'], to_jsonb(t) from ledger.refusal t
) f
$$;

-- What stands there already is taken as it is.
insert into ledger.fact_seal (fact, fact_id, content_sha256) select f.fact, f.fact_id, f.content_sha256 from ledger.facts() f;

create trigger seal_fact after insert on ledger.customer_mapping for each row execute function ledger.seal_fact('mapping_id');
create trigger seal_fact after insert on ledger.plan_fact for each row execute function ledger.seal_fact('plan_fact_id');
create trigger seal_fact after insert on ledger.lane for each row execute function ledger.seal_fact('lane_id');
create trigger seal_fact after insert on ledger.arming for each row execute function ledger.seal_fact('arming_id');
create trigger seal_fact after insert on ledger.billing_period for each row execute function ledger.seal_fact('period_id');
create trigger seal_fact after insert on ledger.period_event for each row execute function ledger.seal_fact('period_event_id');
create trigger seal_fact after insert on ledger.conflict for each row execute function ledger.seal_fact('source_partition', 'source_offset');
create trigger seal_fact after insert on ledger.refusal for each row execute function ledger.seal_fact('source_partition', 'source_offset');
