-- What each customer used, by the day it was used and the day it was recorded.
create view finance.usage_by_customer_day as
select
    s.customer as customer_id,
    s.meter,
    (p.segment_start at time zone 'UTC')::date as usage_date_utc,
    (b.recorded_at at time zone 'UTC')::date as booked_on,
    ops.in_unit(sum(case when p.from_account = 1 then p.quantity else -p.quantity end), s.scale) as quantity,
    sum(case when p.from_account = 1 then p.quantity else -p.quantity end) as quantity_smallest,
    s.unit,
    sum(case when p.from_account = 1 then p.events else -p.events end)::bigint as event_count
from ledger.posting p
join ledger.batch b on b.batch_id = p.batch_id
join derived.subject s on s.subject_id = p.subject_id
where 1 in (p.from_account, p.to_account)
group by s.customer, s.meter, s.scale, s.unit, usage_date_utc, booked_on;

comment on view finance.usage_by_customer_day is 'All usage recorded, on time and late, per customer, meter, UTC day of use and day it was booked. Sum over booked_on for a day''s total; filter by booked_on for what was known then.';
comment on column finance.usage_by_customer_day.customer_id is 'Our id of the customer.';
comment on column finance.usage_by_customer_day.meter is 'Meter of the catalogue.';
comment on column finance.usage_by_customer_day.usage_date_utc is 'UTC day on which the usage happened (event time).';
comment on column finance.usage_by_customer_day.booked_on is 'UTC day on which the ledger recorded it; never changes.';
comment on column finance.usage_by_customer_day.quantity is 'Quantity in the meter''s unit; negative events are subtracted.';
comment on column finance.usage_by_customer_day.quantity_smallest is 'The same as an integer, in the meter''s smallest unit.';
comment on column finance.usage_by_customer_day.unit is 'The meter''s unit.';
comment on column finance.usage_by_customer_day.event_count is 'How many events make the quantity.';
