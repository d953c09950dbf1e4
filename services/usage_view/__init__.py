"""A customer's own numbers: the same period, lines and total as the invoice that Stripe will send."""
