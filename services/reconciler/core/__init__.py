"""Pure decisions: what is read when, and what a figure of Stripe means."""
