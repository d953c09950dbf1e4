"""The door before a swap or a cancel: everything of a customer sent to Stripe and confirmed, now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from litestar import Response

from services.ingest.app.customers import FLUSH, PATH, WRITE
from services.ingest.config import Settings
from services.ingest.ports import Ends, Ledger
from trueup.contracts.problems import Problem, Refused, other_method, unavailable
from trueup.ledger.access.admission import Access
from trueup.ledger.store import flush, publisher_view
from trueup.ledger.store.flush import Flush
from trueup.runtime.http.answers import AnyRequest, in_json
from trueup.runtime.http.head import NO_SUCH_PATH, heads, segments

LOOK_SECONDS = 0.25
RETRY_AFTER_SECONDS = 15
# Each asks the ledger four times a second for as long as it waits.
MOST_AT_ONCE = 8


class FlushDoor:
    """`POST /v1/customers/{customer}/flush`."""

    def __init__(self, settings: Settings, access: Access, ledger: Ledger, ends: Ends) -> None:
        self._seconds = settings.ingest_flush_seconds
        self._access = access
        self._ledger = ledger
        self._ends = ends
        self._in_hand = 0

    async def post(self, request: AnyRequest) -> Response[bytes]:
        """Flush, and wait until Stripe has it."""
        headers = heads(request.scope["headers"])
        async with self._access.admit(headers, WRITE) as key:
            parts = segments(request.scope, PATH)
            if len(parts) == 1:
                raise other_method("PUT")
            if len(parts) != 2 or parts[1] != FLUSH:
                raise Refused(NO_SUCH_PATH)
            if self._in_hand >= MOST_AT_ONCE:
                raise unavailable(f"{self._in_hand} flushes are in hand", RETRY_AFTER_SECONDS)
            self._in_hand += 1
            try:
                return await self._flush(parts[0], f"over HTTP, key {key.key_id} of {key.holder}")
            finally:
                self._in_hand -= 1

    async def _flush(self, customer: str, reason: str) -> Response[bytes]:
        give_up_at = time.monotonic() + self._seconds
        partition, end = await self._ends.end_for(customer)

        async def captured() -> bool:
            return await self._ledger.run(lambda connection: publisher_view.captured_through(connection, partition)) >= end

        # What was accepted a moment ago is part of everything: a flush that overtook it would confirm too little.
        await _until(captured, give_up_at, "usage that was accepted before is still on its way into the ledger")
        flush_id = await self._ledger.run(lambda connection: flush.request(connection, customer, reason))
        found = await self._ended(flush_id, give_up_at)
        if found.done:
            return in_json(200, {"customer": customer, "flush_id": flush_id, "done": True})
        if found.refused is not None:
            raise Refused(Problem(409, "flush-refused", "This flush cannot end by itself", found.refused))
        meters = ", ".join(sorted(found.open_quantities)) or "Stripe's summaries do not show all of it yet"
        raise unavailable(f"not yet confirmed: {meters}. It goes on; ask again", RETRY_AFTER_SECONDS)

    async def _ended(self, flush_id: int, give_up_at: float) -> Flush:
        while True:
            found = await self._ledger.run(lambda connection: flush.state(connection, flush_id))
            if found.done or found.refused is not None or time.monotonic() > give_up_at:
                return found
            await asyncio.sleep(LOOK_SECONDS)


async def _until(true: Callable[[], Awaitable[bool]], give_up_at: float, why: str) -> None:
    while not await true():
        if time.monotonic() > give_up_at:
            raise unavailable(f"{why}; ask again", RETRY_AFTER_SECONDS)
        await asyncio.sleep(LOOK_SECONDS)
