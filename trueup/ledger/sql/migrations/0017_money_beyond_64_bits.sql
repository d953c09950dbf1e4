-- One legal event at a dear price may be worth more minor units than 64 bits hold. No view and no room may end with that.
-- The views over the table stand in the way; they are code, and made anew after every migration.
-- squawk-ignore ban-drop-schema
drop schema if exists finance cascade;
-- squawk-ignore ban-drop-schema
drop schema if exists derived cascade;

-- Few rows, computed anew in each round.
alter table ops.period_worth
-- squawk-ignore changing-column-type
alter column used_minor type numeric(38, 0),
-- squawk-ignore changing-column-type
alter column taken_back_minor type numeric(38, 0);

-- The one place where SQL rounds money: to the nearest minor unit, a half away from zero, as trueup.contracts.pricing.rounding does.
create function ops.round_minor_units(amount numeric) returns numeric language sql immutable
set search_path = pg_catalog
as $$ select round(amount) $$;

-- The same as people are shown it; what is beyond 64 bits is not known.
create or replace function ops.to_minor_units(amount numeric) returns bigint language sql immutable
set search_path = pg_catalog
as $$ select case when abs(round(amount)) < 9223372036854775808 then round(amount)::bigint end $$;
