"""The catalogue: meters, plans and policies; which version of it is in force when; what a new version may not change."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from trueup.contracts.errors import Broken
from trueup.contracts.topics import CATALOGUE_DELAY_MS

FROM_THE_BEGINNING_MS = -(2**62)
"""When the first version comes into force: before anything can have happened."""


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
class CatalogueVersion:
    """A version as it travels on its topic: the file's own text, and who applied it."""

    version: int
    content_toml: str
    applied_by: str
    reason: str = ""


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


def parse(text: str) -> Catalogue:
    """Read a catalogue; CatalogueError lists every fault with its line."""
    from trueup.contracts.catalogue_file import read  # It builds what this module declares, so it can't be imported above.

    return read(text)


def check_succession(old: Catalogue, new: Catalogue) -> tuple[Fault, ...]:
    """List what a new version may not change: unit, scale and aggregation of a meter, since rows in the ledger rest on them."""
    faults = []
    for name, before in old.meters.items():
        after = new.meters.get(name)
        if after is None:
            continue
        for what, was, becomes in (
            ("unit", before.unit, after.unit),
            ("scale", before.scale, after.scale),
            ("aggregation", before.aggregation.value, after.aggregation.value),
        ):
            if was != becomes:
                faults.append(Fault(None, f"meter.{name}: {what} is {was!r} and can't become {becomes!r}; declare a new meter"))
    return tuple(faults)


@dataclass(frozen=True, slots=True)
class VersionInForce:
    """A version and the append time from which it decides."""

    version: int
    in_force_from_ms: int
    catalogue: Catalogue


@dataclass(frozen=True, slots=True)
class Timeline:
    """Every version in the order of the topic. Which one decides is a function of a record's append time alone."""

    versions: tuple[VersionInForce, ...] = ()
    _starts: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Keep the starts apart, for the search."""
        object.__setattr__(self, "_starts", tuple([entry.in_force_from_ms for entry in self.versions]))

    @classmethod
    def from_appended(cls, appended: Iterable[tuple[int, int, Catalogue]]) -> "Timeline":
        """Build it from (version, append time, catalogue) in the order of the topic."""
        timeline = cls()
        for version, append_ms, catalogue in appended:
            timeline = timeline.with_version(version, append_ms, catalogue)
        return timeline

    def with_version(self, version: int, append_ms: int, catalogue: Catalogue) -> "Timeline":
        """Add the next version; the same one again changes nothing, another content under its number is a broken invariant."""
        if not self.versions:
            return Timeline((VersionInForce(version, FROM_THE_BEGINNING_MS, catalogue),))
        newest = self.versions[-1]
        if version <= newest.version:
            if any(entry.version == version and entry.catalogue == catalogue for entry in self.versions):
                return self
            raise Broken(f"catalogue version {version} came after version {newest.version} with another content")
        start_ms = max(append_ms + CATALOGUE_DELAY_MS, newest.in_force_from_ms)
        return Timeline((*self.versions, VersionInForce(version, start_ms, catalogue)))

    def in_force_at(self, append_ms: int) -> tuple[int, Catalogue]:
        """Give the version that decides a record appended at this instant; LookupError while there is none at all."""
        at = bisect_right(self._starts, append_ms) - 1
        if at < 0:
            raise LookupError("no catalogue version exists yet")
        entry = self.versions[at]
        return entry.version, entry.catalogue
