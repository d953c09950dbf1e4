"""The door for a customer's usage and bill."""

from __future__ import annotations

from litestar import Response

from services.usage_view.app.reading import Bills
from services.usage_view.app.shown import bill_in_json
from services.usage_view.core.billing_period import CURRENT, read_wish
from services.usage_view.core.query import parameters, refused
from trueup.ledger.access.admission import Access
from trueup.runtime.http.answers import AnyRequest, in_json
from trueup.runtime.http.head import heads

READ = "usage:read"


def wish_of(text: str) -> str | int:
    """What `period` means; Refused when it means nothing."""
    try:
        return read_wish(text)
    except ValueError as fault:
        raise refused("period is current, previous, or when it starts: 2026-11-01 or 2026-11-01T00:00:00Z") from fault


class UsageDoor:
    """`GET /v1/customers/{customer}/usage`."""

    def __init__(self, access: Access, bills: Bills) -> None:
        self._access = access
        self._bills = bills

    async def get(self, request: AnyRequest, customer: str) -> Response[bytes]:
        """Tell a customer's bill of a period."""
        async with self._access.admit(heads(request.scope["headers"]), READ):
            asked = parameters(request.scope["query_string"], ("period", "by"))
            by = asked.get("by")
            if by == "":
                raise refused("by is the name of a dimension")
            found = await self._bills.read(customer, wish_of(asked.get("period", CURRENT)), by)
        return in_json(200, bill_in_json(found.bill, found.data_through_ms, by, found.parts))
