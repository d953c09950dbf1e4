"""The reading and posting of invoices in a process of its own, which ends itself at a place that a test names.

    python -m tests.makers.reconciler_process DSN STRIPE_URL PLACE NOW_MS

`after_read` stands between the invoice that was kept and the first posting, `in_posting` inside the transaction that posts the
second item, `after_post` behind the commit of the second.
"""

from __future__ import annotations

import os
import signal
import sys

from services.reconciler.adapters.invoices import InvoiceReader
from services.reconciler.app.invoices import Invoices
from tests.system.emulator.running import API_KEY
from trueup.ledger.invoices import BilledItem
from trueup.ledger.store import invoice_postings
from trueup.ledger.store.session import Session
from trueup.runtime import log

ITEM = 2


class MeetingInvoices(Invoices):
    """The real thing, with places where the process is killed."""

    def __init__(self, dsn: str, url: str, place: str) -> None:
        super().__init__(Session(dsn, "reconciler"), InvoiceReader(API_KEY, url), "reconciler", 7 * 86_400)
        self._place = place
        self._items = 0

    def post(self) -> int:
        """Post what was read."""
        self._meet("after_read")
        return super().post()

    def _post(self, item: BilledItem) -> bool:
        self._items += 1
        posted = super()._post(item)
        if self._items == ITEM:
            self._meet("after_post")
        return posted

    def meet_in_posting(self) -> None:
        """Called when an item's rows are written and not committed."""
        if self._items == ITEM:
            self._meet("in_posting")

    def _meet(self, place: str) -> None:
        if place == self._place:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Read and post until killed."""
    dsn, url, place, now_ms = sys.argv[1:]
    log.configure("reconciler")
    room = MeetingInvoices(dsn, url, place)
    written = invoice_postings._post

    def post_and_meet(*arguments: object) -> bool:
        posted = written(*arguments)  # type: ignore[arg-type]
        room.meet_in_posting()
        return posted

    invoice_postings._post = post_and_meet
    room.step(int(now_ms))


if __name__ == "__main__":
    main()
