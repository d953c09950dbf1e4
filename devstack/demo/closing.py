"""The closing table: per customer and meter, the truth beside every place where the quantity may stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from trueup.contracts.quantities import to_decimal_text

ACCOUNTS = (
    "invoiced",
    "acknowledged",
    "charged_by_item",
    "in_review",
    "waived",
    "written_off",
    "unsent",
    "in_flight",
    "rejected",
    "missed_invoice",
    "shadow",
)
MUST_BE_EMPTY = ("in_flight", "rejected", "missed_invoice", "shadow", "unsent")
READINGS = ("summaries", "invoices", "preview", "books")
MONEY = ("owed", "billed")
HEADINGS = ("customer", "meter", "truth", *ACCOUNTS, *READINGS, *MONEY, "agrees")


@dataclass(frozen=True, slots=True)
class Line:
    """One customer and meter: the truth, the ledger's accounts and what Stripe shows from outside, in the smallest unit; then money.

    `late` is what of the truth came too late for an invoice, and belongs before a person. `owed_minor` is what the rest of it costs,
    `billed_minor` what final invoices say, in minor units; None before there are any.
    """

    customer: str
    meter: str
    scale: int
    truth: int
    accounts: Mapping[str, int]
    summaries: Decimal
    invoices: Decimal
    preview: Decimal
    books: Decimal
    late: int = 0
    owed_minor: int | None = None
    billed_minor: int | None = None

    @property
    def agrees(self) -> bool:
        """True when the accounts hold exactly the truth, nothing hangs, and Stripe shows what it acknowledged and what it billed."""
        acknowledged, invoiced = self.accounts.get("acknowledged", 0), self.accounts.get("invoiced", 0)
        complete = self.truth == sum(self.accounts.get(name, 0) for name in ACCOUNTS)
        settled = all(self.accounts.get(name, 0) == 0 for name in MUST_BE_EMPTY)
        # Two quantities may cost the same, so the units that stand before a person are looked at by themselves.
        judged = self.accounts.get("in_review", 0) == self.late
        received = self.summaries == self.books == acknowledged + invoiced
        billed = self.invoices == invoiced and self.preview == acknowledged and self.owed_minor == self.billed_minor
        return complete and settled and judged and received and billed

    def as_row(self) -> dict[str, str | bool]:
        """The line in the meter's unit, exact, as text."""
        numbers = {"truth": self.truth, **{name: self.accounts.get(name, 0) for name in ACCOUNTS}}
        shown = {name: to_decimal_text(value, self.scale) for name, value in numbers.items()}
        readings = {name: exact_text(getattr(self, name), self.scale) for name in READINGS}
        amounts = {"owed": self.owed_minor, "billed": self.billed_minor}
        money = {name: "" if minor is None else str(minor) for name, minor in amounts.items()}
        return {"customer": self.customer, "meter": self.meter, **shown, **readings, **money, "agrees": self.agrees}


def exact_text(quantity: Decimal, scale: int) -> str:
    """A reading in the meter's unit, with every digit it has: a reading that is no whole smallest unit must show."""
    if quantity == quantity.to_integral_value():
        return to_decimal_text(int(quantity), scale)
    return format(quantity.scaleb(-scale), "f")


def totals(lines: Iterable[Line]) -> list[Line]:
    """One line per meter over all customers: units of different meters are never added."""
    by_meter: dict[str, list[Line]] = {}
    for line in lines:
        by_meter.setdefault(line.meter, []).append(line)
    return [total(meter, members) for meter, members in sorted(by_meter.items())]


def total(meter: str, lines: Sequence[Line]) -> Line:
    """The sum of a meter's lines."""
    return Line(
        customer="total",
        meter=meter,
        scale=lines[0].scale,
        truth=sum(line.truth for line in lines),
        late=sum(line.late for line in lines),
        accounts={name: sum(line.accounts.get(name, 0) for line in lines) for name in ACCOUNTS},
        summaries=sum((line.summaries for line in lines), Decimal()),
        invoices=sum((line.invoices for line in lines), Decimal()),
        preview=sum((line.preview for line in lines), Decimal()),
        books=sum((line.books for line in lines), Decimal()),
        owed_minor=_sum_of([line.owed_minor for line in lines]),
        billed_minor=_sum_of([line.billed_minor for line in lines]),
    )


def _sum_of(amounts: Sequence[int | None]) -> int | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None


def rendered(rows: Sequence[Mapping[str, object]], headings: Sequence[str]) -> str:
    """Rows as a text table: names to the left, numbers to the right."""
    cells = [[shown(row.get(name, "")) for name in headings] for row in rows]
    widths = [max([len(heading), *(len(row[place]) for row in cells)]) for place, heading in enumerate(headings)]
    numeric = [all(not row[place] or row[place].lstrip("-")[:1].isdigit() for row in cells) for place in range(len(headings))]

    def line(values: Sequence[str]) -> str:
        aligned = (value.rjust(width) if right else value.ljust(width) for value, width, right in zip(values, widths, numeric, strict=True))
        return "  ".join(aligned).rstrip()

    return "\n".join([line(list(headings)), line(["-" * width for width in widths]), *(line(row) for row in cells)])


def shown(value: object) -> str:
    """A cell: numbers of more than four digits are grouped so that a person can read them."""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    text = str(value)
    whole, point, places = text.partition(".")
    return f"{int(whole):,}{point}{places}" if whole.lstrip("-").isdigit() and not whole.startswith("-0") else text
