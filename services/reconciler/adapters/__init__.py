"""Stripe as this room reads it."""

from services.reconciler.adapters.stripe_reader import StripeReader

__all__ = ["StripeReader"]
