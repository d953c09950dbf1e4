"""Adding events up to postings: one row for what a batch adds to one segment in one account. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from services.stripe_sink.core.capture_destination import Why
from trueup.ledger.accounts import Account
from trueup.ledger.captured import EventRow, PostingRow

LARGEST_QUANTITY = 2**63 - 1


def postings_of(accepted: Iterable[tuple[EventRow, bytes, Account, Why | None]]) -> list[PostingRow]:
    """One row per (subject, segment, account); one more where the sum would leave 64 bits."""
    groups: dict[tuple[str, str, int, int, Account], list[int]] = {}
    full: list[PostingRow] = []
    for row, _value, to_account, _why in accepted:
        key = (row.customer, row.meter, row.segment_start_ms, row.segment_end_ms, to_account)
        group = groups.get(key)
        if group is not None and abs(group[0] + row.billable_quantity) > LARGEST_QUANTITY:
            full.append(PostingRow(*key, *groups.pop(key)))
            group = None
        if group is None:
            groups[key] = [row.billable_quantity, 1, row.event_time_ms, row.event_time_ms]
            continue
        group[0] += row.billable_quantity
        group[1] += 1
        if row.event_time_ms < group[2]:
            group[2] = row.event_time_ms
        elif row.event_time_ms > group[3]:
            group[3] = row.event_time_ms
    return sorted([*full, *(PostingRow(*key, *group) for key, group in groups.items())])
