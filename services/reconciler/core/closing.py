"""A period's way: open, closing, invoiced, settled, or not provable. A pure function of what is known of it and of the date."""

from __future__ import annotations

from dataclasses import dataclass

MINUTE_MS = 60_000
# Two reads this far apart must agree before a shortfall is believed.
BETWEEN_READS_MS = 15 * MINUTE_MS
SHORTLY_MS = MINUTE_MS
# An invoice that is overdue is looked for this often.
OVERDUE_MS = 60 * MINUTE_MS


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
class PeriodInvoice:
    """An invoice, and one item's period that it bills."""

    subscription_item_id: str
    start_ms: int
    invoice: Invoice


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


@dataclass(frozen=True, slots=True)
class Change:
    """Where a period stands after a look."""

    status: str
    invoice_id: str | None
    finalizes_ms: int
    basis: str
    why: str


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
    if period.status in ("open", "closing") and not period.provable and now_ms >= finalizes_ms - period.margin_ms:
        return "not_provable", period.why_not or "its deadline came before it was looked at"
    if invoice is not None and invoice.final:
        if period.provable and invoice.status in ("paid", "uncollectible", "void"):
            return "settled", f"invoice {invoice.invoice_id} is {invoice.status}"
        return "invoiced", f"invoice {invoice.invoice_id} is final"
    if period.status == "invoiced":
        return "invoiced", "as it was"
    if period.provable and period.nothing_billed and now_ms >= finalizes_ms:
        return "settled", "there was nothing to invoice"
    return "closing", "the period has ended; its invoice is not final"


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
    return min(dates)


def shortfall_is_real(
    *, open_intents: int, answered_ms: int | None, settle_ms: int, reads: tuple[tuple[int, int], tuple[int, int] | None], now_ms: int
) -> bool:
    """Whether a summary that is short may be acted on: nothing in flight, the last answer settled, two reads apart that agree."""
    (newest_quantity, newest_ms), before = reads
    if open_intents or before is None or (answered_ms is not None and now_ms < answered_ms + settle_ms):
        return False
    quantity, read_ms = before
    return quantity == newest_quantity and newest_ms - read_ms >= BETWEEN_READS_MS
