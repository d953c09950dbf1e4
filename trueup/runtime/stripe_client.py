"""How a Stripe client is made, in one place: version, base address, time-outs, and no retries behind our back."""

from __future__ import annotations

import logging

import stripe

from trueup.contracts.errors import Transient

# The SDK tells of every call at level info: at a call a second that would be most of a room's log.
logging.getLogger("stripe").setLevel(logging.WARNING)

# The version our emulator and our notes speak. It is sent with every request, so an account's own default changes nothing.
STRIPE_API_VERSION = "2026-10-28.endive"

# Connecting is quick or hopeless; an answer may take a while, since Stripe locks objects.
CONNECT_TIMEOUT_SECONDS = 5.0
READ_TIMEOUT_SECONDS = 30.0


def stripe_client(
    api_key: str,
    base_address: str | None = None,
    *,
    connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
    read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
) -> stripe.StripeClient:
    """A client for one account and mode.

    ``base_address`` points every host of the SDK at an emulator; ``None`` is Stripe itself.
    Retries are zero: a call that was not answered is a fact the ledger must know of before another is made.
    """
    transport = stripe.RequestsClient(timeout=(connect_timeout_seconds, read_timeout_seconds))
    if base_address is None:
        return stripe.StripeClient(api_key, stripe_version=STRIPE_API_VERSION, max_network_retries=0, http_client=transport)
    address = base_address.rstrip("/")
    return stripe.StripeClient(
        api_key,
        stripe_version=STRIPE_API_VERSION,
        max_network_retries=0,
        http_client=transport,
        base_addresses={"api": address, "files": address, "connect": address, "meter_events": address},
    )


def account_of(client: stripe.StripeClient, api_key: str) -> tuple[str, bool]:
    """Whose key this is, and whether it is of live mode. Stripe's account object does not say the mode; the key does.

    Transient while Stripe does not answer, or does not take the key.
    """
    try:
        account = client.v1.accounts.retrieve_current()
    except stripe.StripeError as error:
        raise Transient(f"Stripe does not tell whose key this is: {error}") from error
    return account.id, "_live_" in api_key[:8]
