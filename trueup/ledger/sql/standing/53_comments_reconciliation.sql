-- What every table and column holds: the reconciler's part.


comment on table ops.stripe_summary is 'An hour of a lane as Stripe''s summaries showed it when last read.';
comment on column ops.stripe_summary.lane_id is 'The lane.';
comment on column ops.stripe_summary.hour_start is 'Start of the hour.';
comment on column ops.stripe_summary.value_text is 'Stripe''s figure as it came; several joined by + when read window by window.';
comment on column ops.stripe_summary.quantity is 'The figure in the meter''s smallest unit.';
comment on column ops.stripe_summary.exact is 'False if it has more than 15 digits, which Stripe''s number does not hold.';
comment on column ops.stripe_summary.read_at is 'When it was read.';
comment on column ops.stripe_summary.previous_quantity is 'What the read before showed.';
comment on column ops.stripe_summary.previous_read_at is 'When that was.';

comment on table ops.stripe_lane_read is 'When all hours of a lane were read last.';
comment on column ops.stripe_lane_read.lane_id is 'The lane.';
comment on column ops.stripe_lane_read.read_at is 'When.';

comment on table ops.stripe_pair_read is 'When Stripe was asked about a customer and meter that nothing was ever sent for, and had nothing either.';
comment on column ops.stripe_pair_read.stripe_customer is 'Stripe''s customer id.';
comment on column ops.stripe_pair_read.stripe_event_name is 'Event name of the Stripe meter.';
comment on column ops.stripe_pair_read.read_at is 'When.';

comment on table ops.stripe_preview is 'What Stripe would invoice for a subscription''s metered price if it did so now.';
comment on column ops.stripe_preview.stripe_customer is 'Stripe''s customer id.';
comment on column ops.stripe_preview.subscription_id is 'Stripe''s subscription.';
comment on column ops.stripe_preview.price_id is 'The price.';
comment on column ops.stripe_preview.subscription_item_id is 'The subscription''s item with this price.';
comment on column ops.stripe_preview.stripe_event_name is 'Event name of the price''s meter.';
comment on column ops.stripe_preview.quantity is 'In the meter''s unit, as Stripe says it.';
comment on column ops.stripe_preview.period_start is 'Start of the period.';
comment on column ops.stripe_preview.period_end is 'End of the period, exclusive.';
comment on column ops.stripe_preview.read_at is 'When it was read.';

comment on table ops.stripe_subscription_read is 'Whose subscriptions were read, and when.';
comment on column ops.stripe_subscription_read.stripe_customer is 'Stripe''s customer id.';
comment on column ops.stripe_subscription_read.subscriptions is 'How many there were.';
comment on column ops.stripe_subscription_read.read_at is 'When.';

comment on table ops.reconciliation is 'How the reconciler in charge reads.';
comment on column ops.reconciliation.only_row is 'Always true.';
comment on column ops.reconciliation.read_age_seconds is 'A read older than this proves nothing.';
comment on column ops.reconciliation.last_round_at is 'When it last went round.';
comment on column ops.reconciliation.last_success_at is 'When every read of a round was answered last.';

comment on function ops.in_unit(numeric, integer) is 'A quantity in the meter''s unit, from its smallest unit.';
