"""The door for whose usage goes to whom at Stripe."""

from __future__ import annotations

from litestar import Response

from services.ingest.config import Settings
from services.ingest.core.request_body import JSON, media_type
from services.ingest.ports import Ledger
from trueup.contracts import json_text
from trueup.contracts.events import LONGEST_NAME
from trueup.contracts.problems import Fault, Problem, Refused, is_text, other_method, unprocessable
from trueup.ledger.access.admission import Access
from trueup.ledger.store import customers
from trueup.ledger.store.customers import RefusedMapping
from trueup.runtime.http.answers import AnyRequest, in_json
from trueup.runtime.http.head import NO_SUCH_PATH, heads, read_body, segments

WRITE = "customers:write"
BODY_BYTES = 16 * 1024
PATH = "/v1/customers/"
FLUSH = "flush"
_MEMBERS = ("stripe_customer", "reason")


class CustomersDoor:
    """`PUT /v1/customers/{customer}`."""

    def __init__(self, settings: Settings, access: Access, ledger: Ledger) -> None:
        self._settings = settings
        self._access = access
        self._ledger = ledger

    async def put(self, request: AnyRequest) -> Response[bytes]:
        """Map a customer to a Stripe customer; saying it again changes nothing."""
        headers = heads(request.scope["headers"])
        async with self._access.admit(headers, WRITE) as key:
            customer = _customer(request)
            media_type(headers, (JSON,))
            body = await read_body(request.receive, headers, BODY_BYTES, self._settings.ingest_body_seconds)
            stripe_customer, reason = _mapping(json_text.read(body))
            recorded_by = f"key {key.key_id} of {key.holder}"
            try:
                new = await self._ledger.run(
                    lambda connection: customers.map_customer(
                        connection, customer, stripe_customer, reason=reason or "told over HTTP", recorded_by=recorded_by
                    )
                )
            except RefusedMapping as refusal:
                raise Refused(Problem(409, "mapping-refused", "This mapping is refused", str(refusal))) from refusal
        return in_json(200, {"customer": customer, "stripe_customer": stripe_customer, "new": new})


def _customer(request: AnyRequest) -> str:
    parts = segments(request.scope, PATH)
    if len(parts) == 2 and parts[1] == FLUSH:
        raise other_method("POST")
    if len(parts) != 1:
        raise Refused(NO_SUCH_PATH)
    return parts[0]


def _mapping(content: object) -> tuple[str, str]:
    if not isinstance(content, dict):
        raise unprocessable([Fault("", "bad_field", "a mapping is a JSON object")])
    faults = [Fault("", "bad_field", f"a mapping has {', '.join(_MEMBERS)} and nothing else")] if set(content) - set(_MEMBERS) else []
    texts = {name: content.get(name, "") for name in _MEMBERS}
    for name, text in texts.items():
        if not isinstance(text, str) or len(text) > LONGEST_NAME or "\0" in text or not is_text(text):
            faults.append(Fault(f"/{name}", "bad_field", f"{name} is a string of at most {LONGEST_NAME} characters"))
    stripe_customer = texts["stripe_customer"]
    if isinstance(stripe_customer, str) and not customers.is_stripe_id(stripe_customer):
        faults.append(Fault("/stripe_customer", "bad_field", f"this is no Stripe customer: {customers.SHAPE}"))
    if faults:
        raise unprocessable(faults)
    return texts["stripe_customer"], texts["reason"]
