-- What every table and column holds: billing periods' part.


comment on table ledger.stripe_event is 'What Stripe said happened; the same event by webhook and by polling is one row.';
comment on column ledger.stripe_event.event_id is 'Stripe''s id of the event.';
comment on column ledger.stripe_event.type is 'Stripe''s name of what happened.';
comment on column ledger.stripe_event.object_id is 'Id of the object that it happened to.';
comment on column ledger.stripe_event.stripe_customer is 'The customer of that object, where it has one.';
comment on column ledger.stripe_event.created is 'When it happened, by Stripe''s clock.';
comment on column ledger.stripe_event.received_at is 'When it reached us.';
comment on column ledger.stripe_event.via is 'webhook or poll: what brought it first.';
comment on column ledger.stripe_event.body is 'The event as it came.';
comment on column ledger.stripe_event.recorded_at is 'When it was recorded.';

comment on table ledger.billing_period is 'A billing period of a subscription item, as Stripe said it; the newest fact per item and start holds.';
comment on column ledger.billing_period.period_id is 'Its number.';
comment on column ledger.billing_period.subscription_item_id is 'Stripe''s subscription item; periods live on items.';
comment on column ledger.billing_period.subscription_id is 'Stripe''s subscription.';
comment on column ledger.billing_period.stripe_customer is 'Stripe''s customer id.';
comment on column ledger.billing_period.price_id is 'The item''s price.';
comment on column ledger.billing_period.stripe_event_name is 'Event name of the price''s meter.';
comment on column ledger.billing_period.plan is 'Our plan that the subscription''s prices belong to; null where none fits.';
comment on column ledger.billing_period.currency is 'ISO 4217 currency of the price.';
comment on column ledger.billing_period.period_start is 'Start; an event exactly on it belongs to this period.';
comment on column ledger.billing_period.period_end is 'End, exclusive.';
comment on column ledger.billing_period.cause_key is 'What makes this fact this fact: told twice, it is recorded once.';
comment on column ledger.billing_period.recorded_at is 'When it was recorded.';

comment on table ledger.period_event is 'What became of a billing period; the newest holds.';
comment on column ledger.period_event.period_event_id is 'Its number.';
comment on column ledger.period_event.subscription_item_id is 'The period''s item.';
comment on column ledger.period_event.period_start is 'The period''s start.';
comment on column ledger.period_event.status is 'open, closing (ended, not invoiced), invoiced, settled or not_provable.';
comment on column ledger.period_event.invoice_id is 'The invoice that bills the period, once it is known.';
comment on column ledger.period_event.deadline is 'When Stripe finalizes that invoice; a meter''s own deadline is its close margin earlier.';
comment on column ledger.period_event.deadline_basis is 'grace (end plus the configured grace) or draft (as the draft invoice says).';
comment on column ledger.period_event.why is 'Why this was recorded.';
comment on column ledger.period_event.cause_key is 'What makes this fact this fact: found twice, it is recorded once.';
comment on column ledger.period_event.recorded_at is 'When it was recorded.';

comment on table ledger.diverted_event is 'Events whose quantity first went elsewhere than on-time and late usage go by themselves.';
comment on column ledger.diverted_event.identity is 'The event.';
comment on column ledger.diverted_event.subject_id is 'The customer''s meter.';
comment on column ledger.diverted_event.batch_id is 'The batch that captured it.';
comment on column ledger.diverted_event.to_account is 'Where its quantity was posted.';
comment on column ledger.diverted_event.why is 'late_accepted, late_waived, past_deadline, never_billed or before_bill_from.';

comment on table ops.flush is 'Requests to send everything of a customer now; one is open for each customer and reason.';
comment on column ops.flush.flush_id is 'Its number.';
comment on column ops.flush.customer is 'Whose usage.';
comment on column ops.flush.reason is 'Why it was asked for.';
comment on column ops.flush.through_batch is 'What was captured up to this batch is meant.';
comment on column ops.flush.requested_at is 'When it was asked for, the last time.';
comment on column ops.flush.done_at is 'When Stripe''s summaries showed all of it; null until then.';
comment on column ops.flush.compared_at is 'When Stripe was last asked since then and its summaries did not show all of it; null before.';

comment on table ops.period_check is 'The last comparison of a period with Stripe''s summaries, over whole minutes on both sides.';
comment on column ops.period_check.subscription_item_id is 'The period''s item.';
comment on column ops.period_check.period_start is 'The period''s start.';
comment on column ops.period_check.quantity_acknowledged is 'What stood in acknowledged for those minutes, in the meter''s smallest unit.';
comment on column ops.period_check.quantity_stripe is 'What the summary showed.';
comment on column ops.period_check.read_at is 'When it was read.';
comment on column ops.period_check.previous_quantity_stripe is 'What the reading before showed.';
comment on column ops.period_check.previous_read_at is 'When that was.';

comment on table ledger.meter_error_report is 'What Stripe refused of what it had received with 2xx. The counts are true, the calls it names are samples: only totals tell all.';
comment on column ledger.meter_error_report.event_id is 'Stripe''s id of the report.';
comment on column ledger.meter_error_report.stripe_meter_id is 'Stripe''s id of the meter; null where there is none.';
comment on column ledger.meter_error_report.created is 'When Stripe made the report.';
comment on column ledger.meter_error_report.error_count is 'How many meter events were refused.';
comment on column ledger.meter_error_report.body is 'The report as Stripe shows it.';
comment on column ledger.meter_error_report.recorded_at is 'When it was recorded.';

comment on table ledger.fact_seal is 'A hash of each mapping, never-billed customer, plan, lane, arming, period, conflict and refusal row, written as the row was: what differs was changed later.';
comment on column ledger.fact_seal.fact is 'The table.';
comment on column ledger.fact_seal.fact_id is 'The row''s key; of several columns, joined by a colon.';
comment on column ledger.fact_seal.content_sha256 is 'Hash of the row.';

comment on table ledger.division is 'Which postings to unsent a division took back, since a boundary learnt later runs through them. Its parts hold their events.';
comment on column ledger.division.batch_id is 'Batch of the division.';
comment on column ledger.division.subject_id is 'Customer and meter.';
comment on column ledger.division.segment_start is 'Start of the segment of the posting that was divided.';
comment on column ledger.division.segment_end is 'End of the segment of the posting that was divided.';
comment on column ledger.division.divided_batch_id is 'Batch of the posting that was divided.';

comment on table ops.captured_through is 'Up to which arrival all usage is captured.';
comment on column ops.captured_through.only_row is 'Always true: there is one row at most.';
comment on column ops.captured_through.through is 'What arrived before it is in the ledger, on every partition of the source topic.';

comment on table ops.event_poll is 'How far Stripe''s list of events was polled.';
comment on column ops.event_poll.only_row is 'Always true.';
comment on column ops.event_poll.polled_at is 'When it was polled last.';
comment on column ops.event_poll.missed_total is 'How many events polling found that no webhook had brought, those from before the first poll left out.';
comment on column ops.event_poll.missed_at is 'When it last found one.';

comment on column ops.uncovered_segment.deadline is 'Until when it may be sent; null while its period is not known.';
comment on column ops.open_intent.deadline is 'Until when it may be sent; null while its period is not known.';
comment on function ledger.deadline_at(text, text, text, timestamptz)
is 'Until when usage of a lane at an instant may be sent; null while its period is not known.';
comment on function ops.past_horizon(timestamptz, timestamptz)
is 'Whether what may have arrived can no longer be sent again safely.';
