"""A period's way: open, closing, invoiced, settled, or not provable. A pure function of what is known of it and of the date."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MINUTE_MS = 60_000
# Two reads this far apart must agree before a shortfall is believed.
BETWEEN_READS_MS = 15 * MINUTE_MS
SHORTLY_MS = MINUTE_MS
# An invoice that is overdue is looked for this often.
OVERDUE_MS = 60 * MINUTE_MS
# Stripe keeps a draft open for 72 h at most: what has no invoice so long after its date gets none.
NEVER_INVOICED_MS = 72 * 60 * MINUTE_MS
# A subscription's invoice for what has ended is made at once.
INVOICED_WITHIN_MS = 24 * 60 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Invoice:
    """What Stripe says of the invoice that bills a period."""

    invoice_id: str
    status: str
    finalizes_ms: int | None  # of a draft
    finalized_ms: int | None

    @property
    def final(self) -> bool:
        """Whether nothing more comes onto it."""
        return self.status not in ("draft", "deleted")


@dataclass(frozen=True, slots=True)
class BilledSpan:
    """From when to when a line of an invoice bills an item."""

    subscription_item_id: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class PeriodInvoice:
    """An invoice, whose it is, and what its lines bill."""

    invoice: Invoice
    subscription_id: str | None
    created_ms: int
    spans: tuple[BilledSpan, ...]


@dataclass(frozen=True, slots=True)
class Period:
    """What the ledger knows of a period."""

    start_ms: int
    end_ms: int
    status: str
    invoice_id: str | None
    finalizes_ms: int  # as known before this look
    basis: str  # grace or draft
    margin_ms: int  # the meter's close margin
    provable: bool
    why_not: str | None
    nothing_billed: bool  # nothing of it was ever acknowledged
    captured_by_ms: int = 0  # when the last usage on time for it has arrived
    missing: bool = False  # some of it was not sent, or was given to a person before its call
    foretold_ms: int = 0  # when its invoice becomes final, as the newest date said that was told in time
    subscription_over: bool = False  # its subscription ended with it, or before


@dataclass(frozen=True, slots=True)
class Change:
    """Where a period stands after a look."""

    status: str
    invoice_id: str | None
    finalizes_ms: int
    basis: str
    why: str


def invoice_of(invoices: Iterable[PeriodInvoice], item_id: str, subscription_id: str, start_ms: int, end_ms: int) -> Invoice | None:
    """Give the invoice that bills a period to its end.

    Its lines need not begin with the period: after a change of price they begin at the change, and an item that was taken out has none.
    An invoice made in mid-period, with lines up to a change, is not the one.
    """
    with_lines: list[tuple[bool, int, int, Invoice]] = []
    without: list[tuple[int, Invoice]] = []
    for one in invoices:
        ends = [
            span.end_ms for span in one.spans if span.subscription_item_id == item_id and span.start_ms < end_ms and span.end_ms > start_ms
        ]
        at_its_end = end_ms - MINUTE_MS <= one.created_ms < end_ms + INVOICED_WITHIN_MS
        if ends and (max(ends) >= end_ms or at_its_end):
            with_lines.append((one.invoice.status != "void", max(ends), one.created_ms, one.invoice))
        elif not ends and at_its_end and one.subscription_id == subscription_id:
            without.append((one.created_ms, one.invoice))
    if with_lines:
        return max(with_lines, key=lambda found: found[:3])[3]
    return min(without, key=lambda found: found[0])[1] if without else None


def judge(period: Period, invoice: Invoice | None, now_ms: int) -> Change:
    """Say where a period stands now."""
    finalizes_ms, basis = _deadline(period, invoice)
    invoice_id = period.invoice_id if invoice is None else invoice.invoice_id
    status, why = _status(period, invoice, finalizes_ms, now_ms)
    return Change(status, invoice_id, finalizes_ms, basis, why)


def _deadline(period: Period, invoice: Invoice | None) -> tuple[int, str]:
    """The draft's own date as soon as there is one; an invoice that was finalized sooner than foretold ended it then."""
    if invoice is None:
        return period.finalizes_ms, period.basis
    if not invoice.final:
        return (period.finalizes_ms, period.basis) if invoice.finalizes_ms is None else (invoice.finalizes_ms, "draft")
    if invoice.finalized_ms is not None and invoice.finalized_ms < period.finalizes_ms:
        return invoice.finalized_ms, "draft"
    return period.finalizes_ms, period.basis


def _status(period: Period, invoice: Invoice | None, finalizes_ms: int, now_ms: int) -> tuple[str, str]:
    if period.status in ("settled", "not_provable"):
        return period.status, "as it was"
    if now_ms < period.end_ms:
        return "open", "the period has not ended"
    if period.status in ("open", "closing") and not period.provable and now_ms >= _provable_by_ms(period, invoice, finalizes_ms):
        return "not_provable", period.why_not or "its deadline came before it was looked at"
    if invoice is not None and invoice.final and (period.provable or not _unannounced(period, invoice, finalizes_ms)):
        if period.provable and invoice.status in ("paid", "uncollectible", "void"):
            return "settled", f"invoice {invoice.invoice_id} is {invoice.status}"
        return "invoiced", f"invoice {invoice.invoice_id} is final"
    if period.status == "invoiced":
        return "invoiced", "as it was"
    if period.provable and period.nothing_billed and now_ms >= finalizes_ms:
        return "settled", "there was nothing to invoice"
    if period.provable and period.subscription_over and invoice is None and now_ms >= finalizes_ms:
        return "settled", "its subscription ended and no invoice came for it"
    if period.provable and invoice is None and now_ms >= finalizes_ms + NEVER_INVOICED_MS:
        return "settled", "no invoice came for it"
    if invoice is not None and invoice.final:
        return "closing", f"invoice {invoice.invoice_id} was final before anything of it could be proved"
    return "closing", "the period has ended; its invoice is not final"


def _unannounced(period: Period, invoice: Invoice | None, finalizes_ms: int) -> bool:
    """Whether its invoice became final before the date that was foretold: made and finalized at once by a cancellation, say.

    An invoice that was seen before, and could not be read just now, is as final as it was.
    """
    final = period.invoice_id is not None if invoice is None else invoice.final
    return final and finalizes_ms < period.foretold_ms


def _provable_by_ms(period: Period, invoice: Invoice | None, finalizes_ms: int) -> int:
    """By when it must be provable, which is its deadline.

    Nobody could know of a date that came without notice. What was not sent by then misses that invoice, and that is said at once; what was
    sent can still be captured and compared, as long as it could have been had the date come as foretold.
    """
    if _unannounced(period, invoice, finalizes_ms) and not period.missing:
        return period.foretold_ms - period.margin_ms
    return finalizes_ms - period.margin_ms


def next_look_ms(period: Period, change: Change, now_ms: int) -> int | None:
    """Give the next date at which this period is looked at by our own clock; None when it is settled."""
    if change.status in ("settled", "not_provable") and (change.invoice_id is not None or now_ms >= change.finalizes_ms + OVERDUE_MS):
        return None
    if change.status == "open":
        return period.end_ms
    deadline_ms = change.finalizes_ms - period.margin_ms
    after_ms = change.finalizes_ms + SHORTLY_MS
    dates = [at for at in (deadline_ms, after_ms) if at > now_ms] or [now_ms + OVERDUE_MS]
    if change.status == "closing" and not period.provable and now_ms < deadline_ms:
        dates.append(now_ms + BETWEEN_READS_MS)
        if now_ms < period.end_ms + 2 * SHORTLY_MS:
            dates.append(period.end_ms + 2 * SHORTLY_MS)
        if now_ms < period.captured_by_ms:
            dates.append(period.captured_by_ms)
    if change.status == "closing" and not period.provable and now_ms >= deadline_ms:
        # Its date came without notice; what it waits for is known with the next look.
        dates.append(now_ms + (BETWEEN_READS_MS if change.finalizes_ms == period.finalizes_ms else SHORTLY_MS))
    return min(dates)
