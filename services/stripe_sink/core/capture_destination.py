"""Where captured usage goes first: what its lateness, its period's deadline and the late policy make of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from trueup.contracts.catalogue import Catalogue
from trueup.contracts.meters import LateDecision, Meter
from trueup.contracts.periods import NO_PERIODS, Calendar
from trueup.ledger.accounts import Account


class Why(StrEnum):
    """Why an event goes elsewhere than its lateness alone would say."""

    LATE_ACCEPTED = "late_accepted"
    LATE_WAIVED = "late_waived"
    PAST_DEADLINE = "past_deadline"
    NEVER_BILLED = "never_billed"
    BEFORE_BILL_FROM = "before_bill_from"


@dataclass(frozen=True, slots=True)
class Closing:
    """What is known of customers and their billing periods when a batch is decided, and the date by which it is."""

    now_ms: int = 0
    calendars: Mapping[tuple[str, str], Calendar] = field(default_factory=lambda: MappingProxyType({}))
    never_billed: frozenset[str] = frozenset()

    def calendar(self, customer: str, meter: str) -> Calendar:
        """The periods of one customer's meter."""
        return self.calendars.get((customer, meter), NO_PERIODS)


NOTHING_KNOWN = Closing()


def destination(
    *,
    never_billed: bool,
    late: bool,
    deadline_ms: int | None,
    now_ms: int,
    billable_quantity: int,
    meter: Meter,
    catalogue: Catalogue,
) -> tuple[Account, Why | None]:
    """Give the account, and why when it is not the usual one: unsent for what came on time, in_review for what came late.

    Who is never billed has no deadline and needs nobody's decision. The late policy is asked only while the deadline is ahead;
    without a known period a person decides.
    """
    if never_billed:
        return Account.WAIVED, Why.NEVER_BILLED
    if deadline_ms is not None and now_ms >= deadline_ms:
        return Account.IN_REVIEW, None if late else Why.PAST_DEADLINE
    if not late:
        return Account.UNSENT, None
    if deadline_ms is None:
        return Account.IN_REVIEW, None
    # Whole units, rounded down: below a whole number is the same for both.
    decision = catalogue.policy.decide_late(abs(billable_quantity) // 10**meter.scale)
    if decision is LateDecision.ACCEPT:
        return Account.UNSENT, Why.LATE_ACCEPTED
    if decision is LateDecision.WAIVE:
        return Account.WAIVED, Why.LATE_WAIVED
    return Account.IN_REVIEW, None
