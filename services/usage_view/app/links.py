"""The door at which a product's backend gets a link for its customer."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from litestar import Response

from services.usage_view.app.reading import Bills
from services.usage_view.app.usage import READ
from services.usage_view.config import Settings
from services.usage_view.core.links import LONGEST_SECONDS, SHORTEST_SECONDS, USUAL_SECONDS, sign
from services.usage_view.metrics import LINKS, MADE
from trueup.contracts import json_text
from trueup.contracts.events import LONGEST_NAME
from trueup.contracts.problems import Fault, is_text, unprocessable, unsupported
from trueup.ledger.access.admission import Access
from trueup.runtime.clock import Clock, rfc3339
from trueup.runtime.http.answers import AnyRequest, in_json
from trueup.runtime.http.head import heads, read_body
from trueup.runtime.metrics import Registry

BODY_BYTES = 16 * 1024
_MEMBERS = ("customer", "expires_in_seconds")


class LinksDoor:
    """`POST /v1/customer-links`."""

    def __init__(self, settings: Settings, secret: bytes, access: Access, bills: Bills, clock: Clock, registry: Registry) -> None:
        self._settings = settings
        self._secret = secret
        self._access = access
        self._bills = bills
        self._clock = clock
        self._registry = registry
        self.base_url = settings.usage_public_url.rstrip("/")

    async def post(self, request: AnyRequest) -> Response[bytes]:
        """Make a link to the page of a customer that is known."""
        headers = heads(request.scope["headers"])
        async with self._access.admit(headers, READ):
            if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json" or "content-encoding" in headers:
                raise unsupported("application/json without an encoding is taken here")
            body = await read_body(request.receive, headers, BODY_BYTES, self._settings.usage_body_seconds)
            customer, seconds = _wish(json_text.read(body))
            await self._bills.require(customer)
        until_seconds = self._clock.now_ms() // 1_000 + seconds
        signed = urlencode({"until": until_seconds, "signature": sign(customer, until_seconds, self._secret)})
        self._registry.increase(LINKS, outcome=MADE)
        url = f"{self.base_url}/customers/{quote(customer, safe='')}?{signed}"
        return in_json(201, {"customer": customer, "url": url, "expires_at": rfc3339(until_seconds * 1_000)})


def _wish(content: object) -> tuple[str, int]:
    if not isinstance(content, dict):
        raise unprocessable([Fault("", "bad_field", "a link is asked for with a JSON object")])
    faults = [Fault("", "bad_field", f"it has {', '.join(_MEMBERS)} and nothing else")] if set(content) - set(_MEMBERS) else []
    customer, seconds = content.get("customer"), content.get("expires_in_seconds", USUAL_SECONDS)
    if not isinstance(customer, str) or not 0 < len(customer) <= LONGEST_NAME or "\0" in customer or not is_text(customer):
        faults.append(Fault("/customer", "bad_field", f"customer is a string of 1 to {LONGEST_NAME} characters"))
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        detail = f"expires_in_seconds is an integer from {SHORTEST_SECONDS} to {LONGEST_SECONDS}"
        faults.append(Fault("/expires_in_seconds", "bad_field", detail))
    if faults or not isinstance(customer, str) or not isinstance(seconds, int):
        raise unprocessable(faults)
    return customer, seconds
