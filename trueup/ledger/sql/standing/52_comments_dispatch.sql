-- What every table and column holds: dispatch's part.


comment on table ledger.cut is 'A point up to which all batches are known to be committed.';
comment on column ledger.cut.cut_id is 'Rises with every cut.';
comment on column ledger.cut.through_batch is 'Every batch up to this number is committed or never will be.';
comment on column ledger.cut.recorded_at is 'When it was recorded.';

comment on table ledger.lane is 'A Stripe customer''s meter: one call in flight at a time.';
comment on column ledger.lane.lane_id is 'Its number.';
comment on column ledger.lane.stripe_customer is 'Stripe''s customer id.';
comment on column ledger.lane.stripe_event_name is 'Event name under which Stripe counts.';

comment on table ledger.intent is 'What will be sent to Stripe, committed before it is sent.';
comment on column ledger.intent.intent_id is 'Its number.';
comment on column ledger.intent.lane_id is 'The lane it goes through.';
comment on column ledger.intent.subject_id is 'The customer''s meter that it takes usage from.';
comment on column ledger.intent.segment_start is 'Start of the window that it covers.';
comment on column ledger.intent.segment_end is 'End of that window, exclusive.';
comment on column ledger.intent.after_batch is 'It covers this window''s postings to unsent from batches after this one,';
comment on column ledger.intent.through_batch is 'up to this one.';
comment on column ledger.intent.cut_id is 'The cut that through_batch comes from.';
comment on column ledger.intent.quantity is 'Sum of the postings covered, in the meter''s smallest unit.';
comment on column ledger.intent.events is 'How many events they stand for.';
comment on column ledger.intent.identifier is 'Stripe''s identifier of the meter event; made from what the intent covers.';
comment on column ledger.intent.stripe_timestamp is 'The time it is sent under, in whole seconds.';
comment on column ledger.intent.body is 'Exactly what is sent.';
comment on column ledger.intent.body_sha256 is 'SHA-256 of the body, in hex.';
comment on column ledger.intent.batch_id is 'The batch of its posting from unsent to in_flight.';
comment on column ledger.intent.recorded_at is 'When it was recorded.';

comment on table ledger.attempt is 'A call to Stripe, committed before it was made.';
comment on column ledger.attempt.attempt_id is 'Its number.';
comment on column ledger.attempt.intent_id is 'What was sent.';
comment on column ledger.attempt.number is 'Counts the attempts of the intent.';
comment on column ledger.attempt.lane_epoch is 'The lane''s epoch that it was made under.';
comment on column ledger.attempt.holder is 'The room that made it.';
comment on column ledger.attempt.idempotency_key is 'Idempotency-Key of the call.';
comment on column ledger.attempt.started_at is 'When it began.';

comment on table ledger.outcome is 'What a call, or a reading, said about an intent.';
comment on column ledger.outcome.outcome_id is 'Its number.';
comment on column ledger.outcome.intent_id is 'The intent it is about.';
comment on column ledger.outcome.attempt_id is 'The call that was answered; null when settled without one.';
comment on column ledger.outcome.class is 'ack, ack_duplicate, reject, retry, unknown, halt, zero or settled.';
comment on column ledger.outcome.final is 'True if it moved the quantity out of in_flight.';
comment on column ledger.outcome.may_have_arrived is 'True if Stripe may have taken the call.';
comment on column ledger.outcome.http_status is 'Status of the answer, where there was one.';
comment on column ledger.outcome.stripe_code is 'Stripe''s error code, where there was one.';
comment on column ledger.outcome.message is 'What Stripe or the connection said.';
comment on column ledger.outcome.request_id is 'Stripe''s id of the request.';
comment on column ledger.outcome.lane_epoch is 'The lane''s epoch that it came under.';
comment on column ledger.outcome.posted is 'False if it came under an old epoch and is kept as evidence only.';
comment on column ledger.outcome.batch_id is 'The batch of its posting, where there is one.';
comment on column ledger.outcome.recorded_at is 'When it was recorded.';

comment on table ledger.settlement is 'An hour of a lane whose unknown outcomes were settled by reading.';
comment on column ledger.settlement.settlement_id is 'Its number.';
comment on column ledger.settlement.lane_id is 'The lane.';
comment on column ledger.settlement.hour_start is 'Start of the hour.';
comment on column ledger.settlement.quantity_unknown is 'Sum of the intents whose outcome was not known.';
comment on column ledger.settlement.quantity_acknowledged is 'What Stripe had acknowledged of the hour.';
comment on column ledger.settlement.quantity_stripe is 'What Stripe shows for the hour.';
comment on column ledger.settlement.quantity_landed is 'What of the unknown had arrived.';
comment on column ledger.settlement.quantity_remainder is 'What of it had not, and goes out anew.';
comment on column ledger.settlement.first_read_at is 'First of two readings that agree.';
comment on column ledger.settlement.second_read_at is 'Second of the two.';
comment on column ledger.settlement.batch_id is 'The batch of its postings.';
comment on column ledger.settlement.recorded_at is 'When it was recorded.';

comment on table ledger.arming is 'Each act that allowed or stopped sending to Stripe; the newest of a scope holds.';
comment on column ledger.arming.arming_id is 'Its number.';
comment on column ledger.arming.action is 'arm or disarm.';
comment on column ledger.arming.customer is 'The customer it is about; null for the whole deployment.';
comment on column ledger.arming.reason is 'Why.';
comment on column ledger.arming.acted_by is 'By whom.';
comment on column ledger.arming.database_identity is 'The very database it was done in: a restored copy is not armed.';
comment on column ledger.arming.lanes_compared is 'How many lanes were compared with Stripe before.';
comment on column ledger.arming.lanes_different is 'How many of them differed.';
comment on column ledger.arming.recorded_at is 'When it was recorded.';

comment on table ops.lane_state is 'Who serves a lane now.';
comment on column ops.lane_state.lane_id is 'The lane.';
comment on column ops.lane_state.holder is 'The room that holds it; null when none does.';
comment on column ops.lane_state.epoch is 'Raised with every lease; an answer under an older one posts nothing.';
comment on column ops.lane_state.leased_until is 'By the database server''s clock: a lease is a wait.';
comment on column ops.lane_state.failures is 'Answers in a row that settled nothing.';
comment on column ops.lane_state.halted_reason is 'Why it stands still until a person has looked; null when it does not.';
comment on column ops.lane_state.halted_at is 'Since when.';

comment on table ops.open_intent is 'Intents without a final outcome: the work of the lanes.';
comment on column ops.open_intent.intent_id is 'The intent.';
comment on column ops.open_intent.lane_id is 'Its lane.';
comment on column ops.open_intent.subject_id is 'The customer''s meter.';
comment on column ops.open_intent.hour_start is 'The hour of its Stripe timestamp.';
comment on column ops.open_intent.risk_since is 'Start of the first attempt that may have arrived; null while there is none.';
comment on column ops.open_intent.settling is 'True if it is not sent again: what became of it is read from Stripe.';

comment on table ops.uncovered_segment is 'Windows with unsent usage up to the newest cut that no intent covers.';
comment on column ops.uncovered_segment.subject_id is 'The customer''s meter.';
comment on column ops.uncovered_segment.segment_start is 'Start of the window.';
comment on column ops.uncovered_segment.due_at is 'When it is to be covered.';
comment on column ops.uncovered_segment.stripe_customer is 'Whom it will be sent for.';
comment on column ops.uncovered_segment.stripe_event_name is 'Under which event name.';
comment on column ops.uncovered_segment.waits_for is 'What is missing: unmapped, no_plan, no_event_name or disarmed; ambiguous_plan when running subscriptions count it under two names, no_price when none counts it; value_too_long when it has more digits than Stripe takes, too_large when no intent can hold it; never_billed until it is moved to waived; null when nothing is.';

comment on table ops.dispatch_progress is 'How far postings were looked through for uncovered windows.';
comment on column ops.dispatch_progress.only_row is 'Always true.';
comment on column ops.dispatch_progress.discovered_through is 'Up to which batch.';
comment on column ops.dispatch_progress.cut_id is 'The cut that this number comes from.';
comment on column ops.dispatch_progress.judged_by is 'Under which mappings, plans, catalogue and pauses the windows were judged.';

comment on table ops.settle_read is 'The first of the two readings that settle a lane''s hour.';
comment on column ops.settle_read.lane_id is 'The lane.';
comment on column ops.settle_read.hour_start is 'Start of the hour.';
comment on column ops.settle_read.quantity is 'What Stripe showed, in the meter''s smallest unit.';
comment on column ops.settle_read.read_at is 'When.';

comment on function ops.database_identity() is 'Which database this is: a restored or copied one has another.';
comment on function ops.dispatch_armed() is 'Whether usage may be sent to Stripe from this database.';
