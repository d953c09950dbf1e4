-- What has more digits than Stripe takes waits apart, so that the rest of its lane goes on: more usage may bring it back, its deadline
-- makes a case of it.
-- squawk-ignore ban-drop-constraint
alter table ops.uncovered_segment drop constraint uncovered_segment_waits_for_check;
-- squawk-ignore constraint-missing-not-valid
alter table ops.uncovered_segment add constraint uncovered_segment_waits_for_check
check (waits_for in ('unmapped', 'no_plan', 'no_event_name', 'disarmed', 'too_large', 'value_too_long', 'never_billed'));
