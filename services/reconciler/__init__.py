"""Reads Stripe and sets it beside the ledger; sends nothing."""
