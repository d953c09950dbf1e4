-- Whether a line is over some usage is asked of previews too, for each intent that no invoice has taken up.
-- squawk-ignore require-concurrent-index-creation
create index invoice_preview_line_customer on ops.invoice_preview_line (stripe_customer, stripe_event_name);
-- squawk-ignore require-concurrent-index-creation
create index invoice_preview_line_item on ops.invoice_preview_line (subscription_item_id, period_start);
