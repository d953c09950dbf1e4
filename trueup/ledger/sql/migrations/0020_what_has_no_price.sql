-- Usage that none of its customer's subscriptions has a price for, and usage of a customer on two plans at once, wait before they are sent.
-- squawk-ignore ban-drop-constraint
alter table ops.uncovered_segment drop constraint uncovered_segment_waits_for_check;
-- squawk-ignore constraint-missing-not-valid
alter table ops.uncovered_segment add constraint uncovered_segment_waits_for_check
check (
    waits_for in (
        'unmapped', 'no_plan', 'ambiguous_plan', 'no_price', 'no_event_name', 'disarmed', 'too_large', 'value_too_long', 'never_billed'
    )
);
