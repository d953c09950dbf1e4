"""Stripe's four accounts of the same usage, brought to the smallest unit and laid beside ours."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from devstack.demo import stripe_reads
from devstack.demo.closing import Line
from devstack.demo.running import Running
from devstack.demo.stripe_reads import Readings

Place = tuple[str, str]  # (Stripe customer, Stripe event name)


@dataclass(slots=True)
class StripeView:
    """Summaries, final invoices, previews and books by place; `claimed` remembers which places a line of ours stands for."""

    summaries: Readings
    invoices: Readings
    previews: Readings
    books: Readings
    billed_minor: Mapping[Place, int]
    claimed: set[Place] = field(default_factory=set)

    def line(
        self,
        customer: str,
        meter: str,
        scale: int,
        truth: int,
        accounts: Mapping[str, int],
        places: Collection[Place],
        late: int = 0,
        owed_minor: int | None = None,
    ) -> Line:
        """One line of the closing table, over all places of its meter; money is looked at where somebody says what is owed."""
        self.claimed.update(places)
        summaries, invoices, preview, books = (
            sum((readings.get(place, Decimal()) for place in places), Decimal()).scaleb(scale) for readings in self._all()
        )
        billed_minor = None if owed_minor is None else sum(self.billed_minor.get(place, 0) for place in places)
        return Line(customer, meter, scale, truth, accounts, summaries, invoices, preview, books, late, owed_minor, billed_minor)

    def _all(self) -> tuple[Readings, Readings, Readings, Readings]:
        return self.summaries, self.invoices, self.previews, self.books

    def unclaimed(self) -> list[Line]:
        """What Stripe shows and no line of ours stands for: usage under a wrong customer or meter would hide there."""
        places = {place for readings in self._all() for place, value in readings.items() if value}
        return [self.line(place[0], place[1], 0, 0, {}, [place]) for place in sorted(places - self.claimed)]


def look(here: Running, stripe_customers: Iterable[str], start_ms: int, end_ms: int) -> StripeView:
    """Reads all four, now."""
    customers = list(stripe_customers)
    sdk = stripe_reads.client(here.stripe_url, here.settings.stripe_api_key)
    summaries = stripe_reads.summaries(sdk, customers, start_ms, end_ms)
    billed = stripe_reads.invoices(sdk, customers)
    previews = stripe_reads.previews(sdk, customers)
    return StripeView(summaries, billed.quantities, previews, stripe_reads.books(here.stripe_url), billed.amounts_minor)
