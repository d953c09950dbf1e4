-- What every table and column holds, shown by psql and by catalogues of data: the foundation's part.

comment on schema ledger is 'What happened, append-only: nobody who can log in may change or delete a row.';
comment on schema ops is 'What moves: positions, leases, last reads. It can be rebuilt from the ledger, the topics and Stripe.';

comment on table ops.alembic_version is 'The newest migration that ran in this database.';
comment on column ops.alembic_version.version_num is 'Its number.';

comment on table ops.simulated_clock is 'The date of a street with a simulated clock; empty in production.';
comment on column ops.simulated_clock.only_row is 'Always true: there is one row or none.';
comment on column ops.simulated_clock.now is 'The date, moved by the street''s clock server.';

comment on table ops.source_offset is 'Up to where capture has read each topic, and who may move that.';
comment on column ops.source_offset.topic is 'The topic''s name on the cluster.';
comment on column ops.source_offset.partition is 'Its partition.';
comment on column ops.source_offset.epoch is 'Raised by every new owner; a batch under an older one is refused.';
comment on column ops.source_offset.next_offset is 'Where to read on.';
comment on column ops.source_offset.beginning is 'Where in the topic this ledger began: at its first record then, or behind what retention had torn.';
comment on column ops.source_offset.source_offset is 'From which offset of the source topic on this ledger can hold anything, where it began on topics without their beginning; null where it read them from the start.';
comment on column ops.source_offset.holder is 'The room that claimed it last.';
comment on column ops.source_offset.updated_at is 'When it moved last.';

comment on table ledger.deployment is 'The one Stripe account and mode that these books are about.';
comment on column ledger.deployment.only_row is 'Always true.';
comment on column ledger.deployment.stripe_account is 'Stripe''s account id.';
comment on column ledger.deployment.livemode is 'True for live, false for test mode.';
comment on column ledger.deployment.recorded_at is 'When it was recorded.';

comment on table ledger.account is 'The accounts that quantities move between; over all of them the sum is zero.';
comment on column ledger.account.account_id is 'Its number in postings.';
comment on column ledger.account.name is 'Its name.';

comment on table ledger.catalogue_version is 'A version of the catalogue, as it was read from its topic.';
comment on column ledger.catalogue_version.version is 'Its number.';
comment on column ledger.catalogue_version.content_toml is 'The file''s own text.';
comment on column ledger.catalogue_version.content_sha256 is 'SHA-256 of the text, in hex.';
comment on column ledger.catalogue_version.appended_at is 'Append time on trueup.catalogue.v1.';
comment on column ledger.catalogue_version.in_force_from is 'From which arrival on it decides; -infinity for the first.';
comment on column ledger.catalogue_version.finalization_grace_seconds is 'How long Stripe leaves a period''s invoice in draft.';
comment on column ledger.catalogue_version.summary_settle_seconds is 'How long Stripe may take to count what it acknowledged.';
comment on column ledger.catalogue_version.bill_from is 'Usage before this is computed and compared, never sent; null without such a date.';
comment on column ledger.catalogue_version.recorded_at is 'When this ledger learnt of it.';

comment on table ledger.meter_version is 'A meter as one version of the catalogue says it.';
comment on column ledger.meter_version.version is 'The catalogue''s version.';
comment on column ledger.meter_version.meter is 'The meter''s name.';
comment on column ledger.meter_version.unit is 'What it counts.';
comment on column ledger.meter_version.scale is 'Decimal places of the unit that a quantity of 1 stands for.';
comment on column ledger.meter_version.aggregation is 'sum of quantities, or count of events.';
comment on column ledger.meter_version.billing_window_seconds is 'How late an event may be before it is late.';
comment on column ledger.meter_version.horizon_seconds is 'Older usage cannot reach Stripe any more.';
comment on column ledger.meter_version.close_margin_seconds is 'Kept free before Stripe finalizes.';
comment on column ledger.meter_version.roll_up_seconds is 'Width of the windows that are sent as one value.';

comment on table ledger.meter_event_name is 'Under which event name Stripe counts a meter.';
comment on column ledger.meter_event_name.version is 'The catalogue''s version.';
comment on column ledger.meter_event_name.meter is 'The meter''s name.';
comment on column ledger.meter_event_name.plan is 'The plan it holds for; empty for a meter that is not plan-scoped.';
comment on column ledger.meter_event_name.stripe_event_name is 'Stripe''s event name.';

comment on table ledger.customer_mapping is 'Our customer ids and Stripe''s: a timeline, of which the newest line of a customer holds.';
comment on column ledger.customer_mapping.mapping_id is 'Rises with every line.';
comment on column ledger.customer_mapping.customer is 'Our id.';
comment on column ledger.customer_mapping.stripe_customer is 'Stripe''s id; belongs to one customer for ever.';
comment on column ledger.customer_mapping.reason is 'Why it was mapped.';
comment on column ledger.customer_mapping.recorded_by is 'By whom.';
comment on column ledger.customer_mapping.recorded_at is 'When.';

comment on table ledger.plan_fact is 'From when on a customer is on a plan.';
comment on column ledger.plan_fact.plan_fact_id is 'Rises with every fact.';
comment on column ledger.plan_fact.customer is 'Our id.';
comment on column ledger.plan_fact.plan is 'The plan''s name in the catalogue.';
comment on column ledger.plan_fact.effective_from is 'From this instant on.';
comment on column ledger.plan_fact.subscription_id is 'Stripe''s subscription.';
comment on column ledger.plan_fact.cause_key is 'What caused the fact; the same cause makes one fact.';
comment on column ledger.plan_fact.recorded_at is 'When it was recorded.';

comment on table ledger.subject is 'A customer''s meter: what postings are kept per.';
comment on column ledger.subject.subject_id is 'Its number.';
comment on column ledger.subject.customer is 'Our customer id.';
comment on column ledger.subject.meter is 'The meter''s name.';

comment on table ledger.batch is 'A transaction that posted something.';
comment on column ledger.batch.batch_id is 'Drawn under the barrier: a cut up to a number covers every batch up to it.';
comment on column ledger.batch.kind is 'capture, intent, outcome, settlement, split, correction, invoice or waiver.';
comment on column ledger.batch.writer is 'The room that wrote it.';
comment on column ledger.batch.chain_sha256 is 'Capture only: hash over all its rows and the hash of the batch before it of the same source partition.';
comment on column ledger.batch.recorded_at is 'When it was written.';

comment on table ledger.source_batch is 'A batch of the dedupe room: what it read and said of it, beside what capture received and did with it.';
comment on column ledger.source_batch.source_partition is 'Partition of usage.events.v1.';
comment on column ledger.source_batch.first_offset is 'First source offset covered; where the batch before ended.';
comment on column ledger.source_batch.next_offset is 'Source offset after the last one covered.';
comment on column ledger.source_batch.batch_id is 'The capture transaction it came with.';
comment on column ledger.source_batch.progress_offset is 'Where its record stands on usage.progress.v1, same partition number.';
comment on column ledger.source_batch.catalogue_version is 'The version in force at its last arrival.';
comment on column ledger.source_batch.last_arrival is 'Append time of its last record.';
comment on column ledger.source_batch.arrived_events is 'Number of events that arrived, said by dedupe.';
comment on column ledger.source_batch.arrived_quantity is 'Sum of the quantities, in smallest units, of events that arrived, said by dedupe.';
comment on column ledger.source_batch.arrived_id_sum is 'Sum of the first 48 bits of the identities of events that arrived, said by dedupe.';
comment on column ledger.source_batch.on_time_events is 'Number of events on time, said by dedupe.';
comment on column ledger.source_batch.on_time_quantity is 'Sum of the quantities, in smallest units, of events on time, said by dedupe.';
comment on column ledger.source_batch.on_time_id_sum is 'Sum of the first 48 bits of the identities of events on time, said by dedupe.';
comment on column ledger.source_batch.late_events is 'Number of events late, said by dedupe.';
comment on column ledger.source_batch.late_quantity is 'Sum of the quantities, in smallest units, of events late, said by dedupe.';
comment on column ledger.source_batch.late_id_sum is 'Sum of the first 48 bits of the identities of events late, said by dedupe.';
comment on column ledger.source_batch.duplicate_events is 'Number of events dropped as duplicates by dedupe.';
comment on column ledger.source_batch.duplicate_quantity is 'Sum of the quantities, in smallest units, of events dropped as duplicates by dedupe.';
comment on column ledger.source_batch.duplicate_id_sum is 'Sum of the first 48 bits of the identities of events dropped as duplicates by dedupe.';
comment on column ledger.source_batch.refused_events is 'Number of events refused, said by dedupe.';
comment on column ledger.source_batch.refused_quantity is 'Sum of the quantities, in smallest units, of events refused, said by dedupe.';
comment on column ledger.source_batch.refused_id_sum is 'Sum of the first 48 bits of the identities of events refused, said by dedupe.';
comment on column ledger.source_batch.received_on_time_events is 'Number of events received as on time by capture.';
comment on column ledger.source_batch.received_on_time_quantity is 'Sum of the quantities, in smallest units, of events received as on time by capture.';
comment on column ledger.source_batch.received_on_time_id_sum is 'Sum of the first 48 bits of the identities of events received as on time by capture.';
comment on column ledger.source_batch.received_late_events is 'Number of events received as late by capture.';
comment on column ledger.source_batch.received_late_quantity is 'Sum of the quantities, in smallest units, of events received as late by capture.';
comment on column ledger.source_batch.received_late_id_sum is 'Sum of the first 48 bits of the identities of events received as late by capture.';
comment on column ledger.source_batch.received_refused_events is 'Number of events received as refused by capture.';
comment on column ledger.source_batch.received_refused_quantity is 'Sum of the quantities, in smallest units, of events received as refused by capture.';
comment on column ledger.source_batch.received_refused_id_sum is 'Sum of the first 48 bits of the identities of events received as refused by capture.';
comment on column ledger.source_batch.accepted_events is 'Number of events that became event rows.';
comment on column ledger.source_batch.accepted_quantity is 'Sum of the quantities, in smallest units, of events that became event rows.';
comment on column ledger.source_batch.accepted_id_sum is 'Sum of the first 48 bits of the identities of events that became event rows.';
comment on column ledger.source_batch.ledger_duplicate_events is 'Number of events that the ledger held already with equal values.';
comment on column ledger.source_batch.ledger_duplicate_quantity is 'Sum of the quantities, in smallest units, of events that the ledger held already with equal values.';
comment on column ledger.source_batch.ledger_duplicate_id_sum is 'Sum of the first 48 bits of the identities of events that the ledger held already with equal values.';
comment on column ledger.source_batch.conflict_events is 'Number of events that the ledger held already with other values.';
comment on column ledger.source_batch.conflict_quantity is 'Sum of the quantities, in smallest units, of events that the ledger held already with other values.';
comment on column ledger.source_batch.conflict_id_sum is 'Sum of the first 48 bits of the identities of events that the ledger held already with other values.';
comment on column ledger.source_batch.suspect_events is 'Number of events forwarded with a payload unlike the one that dedupe remembered.';

comment on table ledger.event is 'An accepted usage event: one row per identity, for ever.';
comment on column ledger.event.identity is 'Hash of source and id: what makes it one event.';
comment on column ledger.event.payload_hash is 'Hash of what it says, by field name and value.';
comment on column ledger.event.source is 'Who published it.';
comment on column ledger.event.id is 'The publisher''s id of the fact.';
comment on column ledger.event.customer is 'Our customer id.';
comment on column ledger.event.meter is 'The meter''s name.';
comment on column ledger.event.subject_id is 'Its customer''s meter.';
comment on column ledger.event.quantity is 'As published, in the meter''s smallest unit.';
comment on column ledger.event.billable_quantity is 'What it weighs: the quantity, or 1 or -1 for a meter that counts.';
comment on column ledger.event.event_time is 'When the usage happened.';
comment on column ledger.event.arrival is 'Append time on the source topic.';
comment on column ledger.event.late is 'True if it missed its meter''s billing window.';
comment on column ledger.event.reason is 'Why the quantity is negative.';
comment on column ledger.event.corrects is 'Id, of the same source, of the event that it takes back.';
comment on column ledger.event.dimensions is 'Free labels from the publisher.';
comment on column ledger.event.segment_start is 'Start of the roll-up window it falls into.';
comment on column ledger.event.segment_end is 'End of that window, exclusive.';
comment on column ledger.event.source_partition is 'Partition of usage.events.v1.';
comment on column ledger.event.source_offset is 'Offset there.';
comment on column ledger.event.batch_id is 'The capture transaction that brought it.';

comment on table ledger.duplicate is 'A second delivery with equal values that dedupe no longer remembered.';
comment on column ledger.duplicate.source_partition is 'Partition of usage.events.v1.';
comment on column ledger.duplicate.source_offset is 'Offset there.';
comment on column ledger.duplicate.identity is 'The event that it repeats.';
comment on column ledger.duplicate.arrival is 'Append time on the source topic.';
comment on column ledger.duplicate.quantity is 'As published, in the meter''s smallest unit.';
comment on column ledger.duplicate.batch_id is 'The capture transaction that met it.';

comment on table ledger.conflict is 'A second delivery with other values; the kept one came first.';
comment on column ledger.conflict.source_partition is 'Partition of usage.events.v1.';
comment on column ledger.conflict.source_offset is 'Offset there.';
comment on column ledger.conflict.identity is 'The event that it contradicts.';
comment on column ledger.conflict.source is 'Who published it.';
comment on column ledger.conflict.id is 'The publisher''s id.';
comment on column ledger.conflict.customer is 'Customer, as this delivery says.';
comment on column ledger.conflict.meter is 'Meter, as this delivery says.';
comment on column ledger.conflict.quantity is 'Quantity, as this delivery says, in smallest units.';
comment on column ledger.conflict.event_time is 'Event time, as this delivery says.';
comment on column ledger.conflict.arrival is 'Append time on the source topic.';
comment on column ledger.conflict.kept_payload_hash is 'Hash of what the ledger keeps.';
comment on column ledger.conflict.seen_payload_hash is 'Hash of what this delivery says.';
comment on column ledger.conflict.record is 'This delivery''s bytes.';
comment on column ledger.conflict.batch_id is 'The capture transaction that met it.';

comment on table ledger.refusal is 'A record that was refused, with the reason and its bytes.';
comment on column ledger.refusal.source_partition is 'Partition of usage.events.v1.';
comment on column ledger.refusal.source_offset is 'Offset there.';
comment on column ledger.refusal.arrival is 'Append time on the source topic.';
comment on column ledger.refusal.reason is 'One of a closed list.';
comment on column ledger.refusal.field is 'The field at fault, where it is one.';
comment on column ledger.refusal.detail is 'A sentence for a person.';
comment on column ledger.refusal.identity is 'Its identity, where the bytes gave one.';
comment on column ledger.refusal.source is 'Who published it, where it could be read.';
comment on column ledger.refusal.id is 'The publisher''s id, where it could be read.';
comment on column ledger.refusal.customer is 'Customer, where it could be read.';
comment on column ledger.refusal.meter is 'Meter, where it could be read.';
comment on column ledger.refusal.quantity is 'Quantity, where it could be read.';
comment on column ledger.refusal.record is 'Its bytes; null when over 64 KiB, then they stand on usage.rejected.v1 only.';
comment on column ledger.refusal.record_bytes is 'How many bytes it has.';
comment on column ledger.refusal.record_sha256 is 'SHA-256 of the bytes, in hex.';
comment on column ledger.refusal.rejected_offset is 'Offset on usage.rejected.v1, same partition number.';
comment on column ledger.refusal.batch_id is 'The capture transaction that recorded it.';

comment on table ledger.posting is 'A movement: one quantity leaves one account and enters another, balanced by construction.';
comment on column ledger.posting.batch_id is 'The transaction that posted it.';
comment on column ledger.posting.subject_id is 'The customer''s meter.';
comment on column ledger.posting.segment_start is 'Start of the window that the usage falls into.';
comment on column ledger.posting.segment_end is 'End of that window, exclusive.';
comment on column ledger.posting.from_account is 'The account it leaves.';
comment on column ledger.posting.to_account is 'The account it enters.';
comment on column ledger.posting.quantity is 'In the meter''s smallest unit; may be zero or negative.';
comment on column ledger.posting.events is 'How many events it stands for.';
comment on column ledger.posting.oldest_event_time is 'Of these events.';
comment on column ledger.posting.newest_event_time is 'Of these events.';
comment on column ledger.posting.intent_id is 'The intent it belongs to; null for capture.';

comment on sequence ledger.batch_seq is 'Numbers of ledger.batch. CACHE 1: a cut reads its last value.';
comment on function ops.now() is 'The date all SQL goes by.';
comment on function ledger.refuse_change() is 'Refuses update, delete and truncate.';
comment on function ledger.sized_text(text) is 'Text as COPY holds it: its length, then its bytes.';
comment on function ledger.milliseconds(timestamptz) is 'Milliseconds since 1970-01-01 UTC.';
comment on function ledger.capture_seals() is 'Every capture batch with the hash it was sealed with and the one that its rows give now.';
comment on function ledger.stripe_customer_of(text) is 'The Stripe customer of one of ours, null while unmapped.';
