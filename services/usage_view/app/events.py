"""The door for the events behind a line."""

from __future__ import annotations

from typing import Any

from litestar import Response

from services.usage_view.app.reading import period_of
from services.usage_view.app.usage import READ, wish_of
from services.usage_view.core import cursor
from services.usage_view.core.billing_period import CURRENT, BillingPeriod
from services.usage_view.core.cursor import BEGINNING, Place
from services.usage_view.core.query import parameters, refused
from services.usage_view.ports import Ledger
from trueup.contracts.quantities import to_decimal_text
from trueup.ledger.access.admission import Access
from trueup.ledger.customer_usage import CustomerEvent, MeterUnit
from trueup.ledger.store import customer_usage
from trueup.ledger.store.session import Connection
from trueup.runtime.clock import Clock, rfc3339
from trueup.runtime.http.answers import AnyRequest, in_json
from trueup.runtime.http.head import heads

USUAL_LIMIT, MOST_EVENTS = 100, 1_000
_NO_UNIT = MeterUnit("", 0)


class EventsDoor:
    """`GET /v1/customers/{customer}/events`."""

    def __init__(self, access: Access, ledger: Ledger, clock: Clock) -> None:
        self._access = access
        self._ledger = ledger
        self._clock = clock

    async def get(self, request: AnyRequest, customer: str) -> Response[bytes]:
        """List a customer's events of a period, in the order in which the ledger got them."""
        async with self._access.admit(heads(request.scope["headers"]), READ):
            asked = parameters(request.scope["query_string"], ("period", "meter", "limit", "cursor"))
            wish, limit, now_ms = wish_of(asked.get("period", CURRENT)), _limit(asked.get("limit")), self._clock.now_ms()
            meter, after = asked.get("meter"), asked.get("cursor")
            told = await self._ledger.run(lambda connection: _list(connection, customer, wish, now_ms, meter, after, limit))
        return in_json(200, told)


def _limit(text: str | None) -> int:
    if text is None:
        return USUAL_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST_EVENTS):
        raise refused(f"limit is an integer from 1 to {MOST_EVENTS}")
    return int(text)


def _list(
    connection: Connection, customer: str, wish: str | int, now_ms: int, meter: str | None, after: str | None, limit: int
) -> dict[str, Any]:
    with customer_usage.one_picture(connection):
        _, period, _ = period_of(connection, customer, wish, now_ms)
        question = cursor.question(customer, period.start_ms, period.end_ms, meter)
        place = _place(after, question)
        page = customer_usage.events(
            connection, customer, meter, (period.start_ms, period.end_ms), (place.batch_id, place.source_offset), limit
        )
        units = customer_usage.units(connection)
    following = None if page.goes_on_after is None else cursor.write(Place(*page.goes_on_after), question)
    return _told(customer, period, page.events, units, following)


def _place(after: str | None, question: bytes) -> Place:
    if after is None:
        return BEGINNING
    try:
        return cursor.read(after, question)
    except ValueError as fault:
        raise refused(f"cursor: {fault}") from fault


def _told(
    customer: str, period: BillingPeriod, events: tuple[CustomerEvent, ...], units: dict[str, MeterUnit], following: str | None
) -> dict[str, Any]:
    return {
        "customer": customer,
        "period": {"start": rfc3339(period.start_ms), "end": rfc3339(period.end_ms)},
        "events": [_event(event, units.get(event.meter, _NO_UNIT)) for event in events],
        "next_cursor": following,
    }


def _event(event: CustomerEvent, unit: MeterUnit) -> dict[str, Any]:
    return {
        "source": event.source,
        "id": event.id,
        "meter": event.meter,
        "time": rfc3339(event.event_time_ms),
        "arrived": rfc3339(event.arrival_ms),
        "quantity": to_decimal_text(event.billable_quantity, unit.scale),
        "late": event.late,
        "under_review": not event.counted,
        "reason": event.reason,
        "corrects": event.corrects,
        "dimensions": dict(event.dimensions),
    }
