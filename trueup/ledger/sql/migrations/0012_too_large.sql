-- What no single intent can hold waits for a person, apart from what is missing elsewhere.
-- squawk-ignore ban-drop-constraint
alter table ops.uncovered_segment drop constraint uncovered_segment_waits_for_check;
-- squawk-ignore constraint-missing-not-valid
alter table ops.uncovered_segment add constraint uncovered_segment_waits_for_check
check (waits_for in ('unmapped', 'no_plan', 'no_event_name', 'disarmed', 'too_large'));
