"""The sink room: capture brings events into the ledger, dispatch brings what the ledger owes to Stripe."""
