"""What nobody outside Stripe knows, or what a test wants otherwise: switches, not truths."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

_DAY_SECONDS = 86_400
LONGEST_GRACE_SECONDS = 72 * 3600


@dataclass(frozen=True, slots=True)
class Switches:
    """The settable behaviour of the emulator; the README says what is known about each."""

    account_id: str = "acct_1TrueupEmulator00"
    identifier_window_seconds: float = _DAY_SECONDS
    identifier_scope: str = "account"
    rejected_identifier_remembered: bool = True
    idempotency_window_seconds: float = _DAY_SECONDS
    aggregation_lag_minimum_seconds: float = 0.0
    aggregation_lag_maximum_seconds: float = 2.0
    aggregation_seed: int = 0
    concurrent_answer: str = "429"
    customer_check: str = "asynchronous"
    summary_order: str = "newest_first"
    last_ordering: str = "timestamp"
    rate_limit_per_second: int | None = 1000
    latency_seconds: float = 0.0
    finalization_grace_seconds: float = 3600.0
    finalization_counts: str = "received"
    invoice_created_gate: str = "all"
    grace_after_swap: str = "lost"
    payment: str = "succeeds"
    flat_amount_at_zero: bool = True
    webhook_order: str = "as_created"
    webhook_seed: int = 0
    webhook_timeout_seconds: float = 20.0
    webhook_retry_scale: float = 1.0
    webhook_retry_until_seconds: float = 3 * _DAY_SECONDS


_CHOICES = {
    "identifier_scope": ("account", "meter"),
    "concurrent_answer": ("429", "409", "off"),
    "customer_check": ("asynchronous", "synchronous"),
    "summary_order": ("newest_first", "oldest_first"),
    "last_ordering": ("timestamp", "received"),
    "finalization_counts": ("received", "aggregated"),
    "invoice_created_gate": ("all", "any", "off"),
    "grace_after_swap": ("lost", "counts"),
    "payment": ("succeeds", "fails"),
    "webhook_order": ("as_created", "newest_first", "shuffled"),
}


def changed(switches: Switches, wishes: dict[str, Any]) -> Switches:
    """Give the switches with some set otherwise; ValueError names the first wish that can't be."""
    for name, value in wishes.items():
        _check(switches, name, value)
    return dataclasses.replace(switches, **wishes)


def _check(switches: Switches, name: str, value: Any) -> None:
    if name not in Switches.__dataclass_fields__:
        raise ValueError(f"there is no switch {name!r}")
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise ValueError(f"{name} is one of {', '.join(_CHOICES[name])}, not {value!r}")
        return
    if name == "rate_limit_per_second" and value is None:
        return
    if name == "finalization_grace_seconds" and not (isinstance(value, (int, float)) and 0 <= value <= LONGEST_GRACE_SECONDS):
        raise ValueError(f"{name} is at most 72 hours, not {value!r}")
    present = getattr(switches, name)
    if isinstance(present, bool) or isinstance(value, bool):
        fits = isinstance(present, bool) and isinstance(value, bool)
    elif isinstance(present, str):
        fits = isinstance(value, str) and value != ""
    else:
        fits = isinstance(value, (int, float)) and (value >= 0 or name in ("aggregation_seed", "webhook_seed"))
    if not fits:
        raise ValueError(f"{name} can't be {value!r}")
