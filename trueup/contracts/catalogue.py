"""The catalogue: reading one, which version of it is in force when, and what a new version may not change."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from trueup.contracts.catalogue_file import read
from trueup.contracts.errors import Broken
from trueup.contracts.meters import (
    Aggregation,
    Catalogue,
    CatalogueError,
    Fault,
    LateDecision,
    LateRule,
    Meter,
    Plan,
    PlanChangeAfter,
    PlanChangeBefore,
    Policy,
)
from trueup.contracts.topics import CATALOGUE_DELAY_MS

__all__ = [
    "FROM_THE_BEGINNING_MS",
    "Aggregation",
    "Catalogue",
    "CatalogueError",
    "CatalogueVersion",
    "Fault",
    "LateDecision",
    "LateRule",
    "Meter",
    "Plan",
    "PlanChangeAfter",
    "PlanChangeBefore",
    "Policy",
    "Timeline",
    "VersionInForce",
    "check_succession",
    "parse",
]

FROM_THE_BEGINNING_MS = -(2**62)
"""When the first version comes into force: before anything can have happened."""


@dataclass(frozen=True, slots=True)
class CatalogueVersion:
    """A version as it travels on its topic: the file's own text, and who applied it."""

    version: int
    content_toml: str
    applied_by: str
    reason: str = ""


def parse(text: str) -> Catalogue:
    """Read a catalogue; CatalogueError lists every fault with its line."""
    return read(text)


def check_succession(old: Catalogue, new: Catalogue) -> tuple[Fault, ...]:
    """List what a new version may not change: unit, scale and aggregation of a meter, since rows in the ledger rest on them.

    Nor may a meter take over a Stripe event name that counts in another unit or scale: what Stripe adds up there is one sum.
    Ask it of every version there was, not of the newest alone: a meter may have been left out in between.
    """
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
    return (*faults, *_taken_over(old, new))


def _taken_over(old: Catalogue, new: Catalogue) -> Iterator[Fault]:
    """The event names that were another meter's, and counted otherwise."""
    owners = {event_name: meter for meter in old.meters.values() for event_name in meter.stripe_event_names}
    for meter in new.meters.values():
        for event_name in dict.fromkeys(meter.stripe_event_names):
            before = owners.get(event_name, meter)
            if before.name != meter.name and (before.unit, before.scale) != (meter.unit, meter.scale):
                yield Fault(
                    None,
                    f"meter.{meter.name}: Stripe's event name {event_name!r} was that of meter {before.name!r}, which counts"
                    f" {before.unit!r} with scale {before.scale}; give it an event name of its own",
                )


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
