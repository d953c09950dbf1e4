"""Meters, plans and policies: what one version of the catalogue says, and what is wrong with one that is refused."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Aggregation(StrEnum):
    """What an event adds to its meter."""

    SUM = "sum"
    COUNT = "count"


class PlanChangeBefore(StrEnum):
    """At which price usage from before a plan change is billed when Stripe had not received it at the swap."""

    OLD_PRICE = "old_price"
    NEW_PRICE = "new_price"
    REVIEW = "review"


class PlanChangeAfter(StrEnum):
    """Which usage the new plan takes over."""

    TAIL = "tail"
    PERIOD = "period"
    NONE = "none"


class LateDecision(StrEnum):
    """What becomes of late usage without a person."""

    ACCEPT = "accept"
    CHARGE_NEXT = "charge-next"
    WAIVE = "waive"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Meter:
    """What one meter measures, how late its events may be, and where Stripe counts it."""

    name: str
    unit: str
    scale: int
    aggregation: Aggregation
    billing_window_seconds: int
    horizon_seconds: int
    close_margin_seconds: int
    roll_up_seconds: int
    stripe_event_name: str | Mapping[str, str]

    @property
    def stripe_event_names(self) -> tuple[str, ...]:
        """Every Stripe event name that this meter feeds."""
        if isinstance(self.stripe_event_name, str):
            return (self.stripe_event_name,)
        return tuple(self.stripe_event_name.values())

    def stripe_event_name_for(self, plan: str | None) -> str | None:
        """Give the Stripe event name for usage under a plan; None when the meter is plan-scoped and the plan has none."""
        if isinstance(self.stripe_event_name, str):
            return self.stripe_event_name
        return None if plan is None else self.stripe_event_name.get(plan)


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan and the Stripe prices that a subscription to it has."""

    name: str
    stripe_prices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LateRule:
    """One line of the late policy; without `below_quantity` it fits everything."""

    below_quantity: int | None
    then: LateDecision


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for all meters."""

    finalization_grace_seconds: int = 86_400
    summary_settle_seconds: int = 7_200
    bill_from_ms: int | None = None
    before_change: PlanChangeBefore = PlanChangeBefore.OLD_PRICE
    after_change: PlanChangeAfter = PlanChangeAfter.TAIL
    late: tuple[LateRule, ...] = ()

    def decide_late(self, quantity: int) -> LateDecision:
        """Give the decision of the first rule that fits a quantity (in the meter's unit); a person decides where none does."""
        for rule in self.late:
            if rule.below_quantity is None or abs(quantity) < rule.below_quantity:
                return rule.then
        return LateDecision.REVIEW


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One version's content."""

    meters: Mapping[str, Meter]
    plans: Mapping[str, Plan]
    policy: Policy


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a catalogue, and the line to look at where there is one."""

    line: int | None
    message: str

    def __str__(self) -> str:
        """Write it as one line."""
        return self.message if self.line is None else f"line {self.line}: {self.message}"


class CatalogueError(ValueError):
    """The catalogue is refused; `faults` lists everything that is wrong with it."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        """Keep the faults in the order of their lines."""
        self.faults = tuple(sorted(faults, key=lambda fault: fault.line or 0))
        super().__init__("\n".join(str(fault) for fault in self.faults))
