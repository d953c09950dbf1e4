-- What every table and column holds: customers who are never billed.

comment on table ledger.never_billed_customer is 'Customers who are never billed through Stripe: their usage goes to waived. Said once, for ever; such a customer is never mapped.';
comment on column ledger.never_billed_customer.never_billed_id is 'Rises with every row.';
comment on column ledger.never_billed_customer.customer is 'Our id.';
comment on column ledger.never_billed_customer.reason is 'Why nobody is to be billed for it.';
comment on column ledger.never_billed_customer.recorded_by is 'By whom.';
comment on column ledger.never_billed_customer.recorded_at is 'When.';

comment on table ledger.waived_segment is 'Usage that waited as unsent when its customer was said to be never billed: which postings were moved to waived, each once.';
comment on column ledger.waived_segment.waived_segment_id is 'Rises with every row.';
comment on column ledger.waived_segment.subject_id is 'The customer''s meter.';
comment on column ledger.waived_segment.segment_start is 'Start of the window.';
comment on column ledger.waived_segment.after_batch is 'Covers postings to unsent of batches after this one.';
comment on column ledger.waived_segment.through_batch is 'Covers postings to unsent of batches up to this one.';
comment on column ledger.waived_segment.cut_id is 'The cut under which they were all committed.';
comment on column ledger.waived_segment.quantity is 'Sum of the postings it covers, in the meter''s smallest unit.';
comment on column ledger.waived_segment.events is 'How many events they hold.';
comment on column ledger.waived_segment.batch_id is 'Of the postings that moved it from unsent to waived.';
