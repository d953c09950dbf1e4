-- What every table and column holds: invoices.


comment on table ledger.stripe_price is 'A price as Stripe described it; the newest row of a price holds.';
comment on column ledger.stripe_price.price_record_id is 'Rises with every row.';
comment on column ledger.stripe_price.price_id is 'Stripe''s id of the price.';
comment on column ledger.stripe_price.currency is 'Its own currency.';
comment on column ledger.stripe_price.stripe_meter_id is 'The Stripe meter it prices; null for a price of something else.';
comment on column ledger.stripe_price.stripe_event_name is 'Event name of that meter.';
comment on column ledger.stripe_price.body is 'The price object as Stripe showed it.';
comment on column ledger.stripe_price.body_sha256 is 'SHA-256 of the body, in hex.';
comment on column ledger.stripe_price.recorded_at is 'When it was recorded.';

comment on table ledger.invoice_snapshot is 'An invoice as it stood when it was read; the newest row of an invoice holds.';
comment on column ledger.invoice_snapshot.snapshot_id is 'Rises with every row.';
comment on column ledger.invoice_snapshot.invoice_id is 'Stripe''s id of the invoice.';
comment on column ledger.invoice_snapshot.status is 'draft, open, paid, uncollectible, void or deleted.';
comment on column ledger.invoice_snapshot.number is 'The number a customer sees; null for a draft.';
comment on column ledger.invoice_snapshot.stripe_customer is 'Stripe''s customer id.';
comment on column ledger.invoice_snapshot.subscription_id is 'The subscription it is of, where it is of one.';
comment on column ledger.invoice_snapshot.billing_reason is 'Why Stripe made it.';
comment on column ledger.invoice_snapshot.currency is 'ISO 4217, lower case.';
comment on column ledger.invoice_snapshot.subtotal_minor is 'Sum of its lines, in minor units.';
comment on column ledger.invoice_snapshot.total_minor is 'What it comes to after discounts and taxes, in minor units.';
comment on column ledger.invoice_snapshot.created_at is 'When Stripe made it.';
comment on column ledger.invoice_snapshot.automatically_finalizes_at is 'When Stripe will finalize the draft.';
comment on column ledger.invoice_snapshot.finalized_at is 'When it was finalized; null before.';
comment on column ledger.invoice_snapshot.body is 'The invoice object as Stripe showed it, without its lines.';
comment on column ledger.invoice_snapshot.content_sha256 is 'SHA-256 of the body and the lines, in hex.';
comment on column ledger.invoice_snapshot.read_at is 'When it was asked for.';
comment on column ledger.invoice_snapshot.recorded_at is 'When it was recorded.';

comment on table ledger.invoice_line is 'A line of an invoice as it was read.';
comment on column ledger.invoice_line.snapshot_id is 'The reading it belongs to.';
comment on column ledger.invoice_line.position is 'Its place on the invoice, from 0.';
comment on column ledger.invoice_line.line_id is 'Stripe''s id of the line.';
comment on column ledger.invoice_line.invoice_id is 'Stripe''s id of the invoice.';
comment on column ledger.invoice_line.subscription_item_id is 'The subscription item it bills.';
comment on column ledger.invoice_line.subscription_id is 'The subscription of that item.';
comment on column ledger.invoice_line.price_id is 'The price it was billed at.';
comment on column ledger.invoice_line.stripe_event_name is 'Event name of the price''s meter; null where the line is not of usage.';
comment on column ledger.invoice_line.period_start is 'Start of what it bills.';
comment on column ledger.invoice_line.period_end is 'End of what it bills, exclusive.';
comment on column ledger.invoice_line.quantity_decimal is 'Exact quantity in the meter''s unit.';
comment on column ledger.invoice_line.amount_minor is 'Its amount in minor units, before discounts and taxes.';
comment on column ledger.invoice_line.discount_minor is 'Discounts on it, in minor units.';
comment on column ledger.invoice_line.tax_minor is 'Taxes on it, in minor units.';
comment on column ledger.invoice_line.credits_applied_minor is 'Billing credits applied to it before tax, in minor units.';
comment on column ledger.invoice_line.currency is 'ISO 4217, lower case.';
comment on column ledger.invoice_line.unit_amount_decimal is 'Price of a unit in minor units, with decimals.';
comment on column ledger.invoice_line.tier is 'The tier it bills, from 1; null where the price has none.';
comment on column ledger.invoice_line.amount_mirror_minor is 'What our own arithmetic makes of the line''s quantity; null where the price is not understood.';
comment on column ledger.invoice_line.why_not_mirrored is 'Why there is no such figure.';
comment on column ledger.invoice_line.body is 'The line object as Stripe showed it.';

comment on table ledger.invoice_posting is 'What was posted for one subscription item''s period on one finalized invoice.';
comment on column ledger.invoice_posting.invoice_posting_id is 'Rises with every row.';
comment on column ledger.invoice_posting.cause_key is 'The invoice, item and period, and how many rows came before: the same cause posts once.';
comment on column ledger.invoice_posting.invoice_id is 'Stripe''s id of the invoice; none: and the subscription, where that ended without an invoice for the period; unlined:, the invoice and the meter, for usage of its period that no line of it is over.';
comment on column ledger.invoice_posting.snapshot_id is 'The reading of the invoice that it rests on; null where there is no invoice.';
comment on column ledger.invoice_posting.subscription_item_id is 'The subscription item.';
comment on column ledger.invoice_posting.price_id is 'The price of its lines.';
comment on column ledger.invoice_posting.lane_id is 'The lane that its usage was sent through; null where nothing was sent.';
comment on column ledger.invoice_posting.period_start is 'Start of the period billed.';
comment on column ledger.invoice_posting.period_end is 'End of it, exclusive.';
comment on column ledger.invoice_posting.quantity_billed is 'Quantity on the invoice''s lines, in the meter''s smallest unit.';
comment on column ledger.invoice_posting.quantity_acknowledged is 'What stood in acknowledged for the period before.';
comment on column ledger.invoice_posting.quantity_invoiced is 'What moved on to invoiced.';
comment on column ledger.invoice_posting.quantity_missed is 'What moved on to missed_invoice.';
comment on column ledger.invoice_posting.amount_missed_minor is 'What the missed quantity would have cost on top, in minor units; null where the price is not understood.';
comment on column ledger.invoice_posting.currency is 'ISO 4217, lower case.';
comment on column ledger.invoice_posting.batch_id is 'The transaction that posted it.';
comment on column ledger.invoice_posting.recorded_at is 'When it was recorded.';

comment on table ledger.invoice_allocation is 'How much of an intent was billed by an invoice, and how much was not.';
comment on column ledger.invoice_allocation.invoice_posting_id is 'What it belongs to.';
comment on column ledger.invoice_allocation.intent_id is 'The intent.';
comment on column ledger.invoice_allocation.quantity_invoiced is 'What of it was billed, in the meter''s smallest unit.';
comment on column ledger.invoice_allocation.events_invoiced is 'How many events go with that.';
comment on column ledger.invoice_allocation.quantity_missed is 'What of it was not.';
comment on column ledger.invoice_allocation.events_missed is 'How many events go with that.';
comment on column ledger.invoice_allocation.amount_missed_minor is 'What that would have cost, in minor units; null where the price is not understood.';

comment on table ops.invoice_preview_line is 'A line of the invoice that Stripe would write now.';
comment on column ops.invoice_preview_line.subscription_id is 'The subscription that was asked about.';
comment on column ops.invoice_preview_line.position is 'Its place on the preview, from 0.';
comment on column ops.invoice_preview_line.stripe_customer is 'Stripe''s customer id.';
comment on column ops.invoice_preview_line.line_id is 'Stripe''s id of the line; another one at each reading.';
comment on column ops.invoice_preview_line.subscription_item_id is 'The subscription item it bills.';
comment on column ops.invoice_preview_line.price_id is 'The price.';
comment on column ops.invoice_preview_line.stripe_event_name is 'Event name of the price''s meter; null where the line is not of usage.';
comment on column ops.invoice_preview_line.period_start is 'Start of what it bills.';
comment on column ops.invoice_preview_line.period_end is 'End of what it bills, exclusive.';
comment on column ops.invoice_preview_line.quantity_decimal is 'Exact quantity in the meter''s unit.';
comment on column ops.invoice_preview_line.amount_minor is 'Its amount in minor units.';
comment on column ops.invoice_preview_line.discount_minor is 'Discounts on it, in minor units.';
comment on column ops.invoice_preview_line.tax_minor is 'Taxes on it, in minor units.';
comment on column ops.invoice_preview_line.credits_applied_minor is 'Billing credits applied to it, in minor units.';
comment on column ops.invoice_preview_line.currency is 'ISO 4217, lower case.';
comment on column ops.invoice_preview_line.unit_amount_decimal is 'Price of a unit in minor units, with decimals.';
comment on column ops.invoice_preview_line.tier is 'The tier it bills, from 1; null where the price has none.';
comment on column ops.invoice_preview_line.amount_mirror_minor is 'What our own arithmetic makes of the line''s quantity.';
comment on column ops.invoice_preview_line.why_not_mirrored is 'Why there is no such figure.';
comment on column ops.invoice_preview_line.read_at is 'When it was asked for.';

comment on table ops.expected_line is 'What our own line says beside one of Stripe''s, from what the ledger holds.';
comment on column ops.expected_line.source is 'The invoice, or preview: and the subscription.';
comment on column ops.expected_line.position is 'The place of Stripe''s line.';
comment on column ops.expected_line.quantity_ledger is 'What the ledger holds for it, in the meter''s smallest unit.';
comment on column ops.expected_line.amount_expected_minor is 'What that costs, in minor units; null where the price is not understood.';
comment on column ops.expected_line.computed_at is 'When it was computed.';

comment on table ops.period_worth is 'What a month''s usage of a subscription item''s period is worth: what the price makes of the period with it, less what it makes of the period before it.';
comment on column ops.period_worth.subscription_item_id is 'The subscription item.';
comment on column ops.period_worth.period_start is 'Start of the period.';
comment on column ops.period_worth.month is 'First day of the UTC month in which the usage was recorded, or the invoice posted.';
comment on column ops.period_worth.meter is 'Meter of the catalogue.';
comment on column ops.period_worth.currency is 'ISO 4217, lower case.';
comment on column ops.period_worth.quantity_used is 'What was used, in the meter''s smallest unit.';
comment on column ops.period_worth.quantity_taken_back is 'What negative events took back; negative.';
comment on column ops.period_worth.used_minor is 'Worth of what was used, in minor units.';
comment on column ops.period_worth.taken_back_minor is 'Worth of what was taken back on top of it; negative.';
comment on column ops.period_worth.computed_at is 'When it was worked out.';

comment on table ops.marginal_price is 'What a further unit of a subscription item''s period would cost.';
comment on column ops.marginal_price.subscription_item_id is 'The subscription item.';
comment on column ops.marginal_price.period_start is 'Start of the period.';
comment on column ops.marginal_price.period_end is 'End of it, exclusive.';
comment on column ops.marginal_price.stripe_customer is 'Stripe''s customer id.';
comment on column ops.marginal_price.stripe_event_name is 'Event name of the price''s meter.';
comment on column ops.marginal_price.currency is 'ISO 4217, lower case.';
comment on column ops.marginal_price.unit_amount_decimal is 'Minor units for one unit of the meter; null where the price is not understood.';
comment on column ops.marginal_price.read_at is 'When it was worked out.';

comment on table ops.invoice_read is 'Whose invoices were read, and when.';
comment on column ops.invoice_read.stripe_customer is 'Stripe''s customer id.';
comment on column ops.invoice_read.read_at is 'When they were last asked for.';

comment on function ops.to_minor_units(numeric) is 'An exact amount in whole minor units: the one place where SQL rounds money.';
