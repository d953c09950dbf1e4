"""The door for Stripe: what is genuine is kept before Stripe hears yes; what is not learns nothing."""

from __future__ import annotations

from litestar import Response

from services.ingest.config import WEBHOOK_BYTES, Settings
from services.ingest.core.notification import UnreadableNotification, read_notification
from services.ingest.core.request_body import JSON, media_type
from services.ingest.core.signature import Verdict, check
from services.ingest.metrics import NOT_STORED, OTHER_MODE, STORED, UNREADABLE, WEBHOOK_LAST_RECEIVED, WEBHOOKS
from services.ingest.ports import Deliveries, Mode
from trueup.contracts.codec import encode_webhook
from trueup.contracts.errors import Transient
from trueup.contracts.problems import Problem, Refused
from trueup.contracts.topics import TopicNames
from trueup.runtime import log
from trueup.runtime.clock import Clock
from trueup.runtime.http.answers import AnyRequest, in_json
from trueup.runtime.http.head import heads, read_body
from trueup.runtime.metrics import Registry

HEADER = "stripe-signature"
BODY_SECONDS = 5.0
# Stripe sends a body at once. When many are waited for at a time, somebody else holds places that a genuine one needs.
MANY_BODIES, HURRIED_BODY_SECONDS = 8, 1.0
_NOT_TAKEN = Problem(400, "not-taken", "This notification is not taken")


class WebhooksDoor:
    """`POST /webhooks/stripe`."""

    def __init__(self, settings: Settings, broker: Deliveries, mode: Mode, clock: Clock, registry: Registry) -> None:
        self._secrets = settings.webhook_secrets
        self._topic = TopicNames(settings.topic_prefix).webhooks
        self._body_seconds = min(BODY_SECONDS, settings.ingest_body_seconds)
        self._bodies = 0
        self._broker = broker
        self._mode = mode
        self._clock = clock
        self._registry = registry
        self._log = log.get("ingest.webhooks")

    async def post(self, request: AnyRequest) -> Response[bytes]:
        """Keep a notification."""
        headers = heads(request.scope["headers"])
        signature = headers.get(HEADER)
        # Without its body nobody can say that a signature is right, but many wrong ones show themselves.
        self._require(check(signature, b"", self._secrets, self._clock.now_ms()), but=Verdict.WRONG)
        media_type(headers, (JSON,))
        self._bodies += 1
        try:
            seconds = self._body_seconds if self._bodies <= MANY_BODIES else min(self._body_seconds, HURRIED_BODY_SECONDS)
            body = await read_body(request.receive, headers, WEBHOOK_BYTES, seconds)
        finally:
            self._bodies -= 1
        now_ms = self._clock.now_ms()
        self._require(check(signature, body, self._secrets, now_ms))
        try:
            key, webhook = read_notification(body, signature or "", now_ms)
        except UnreadableNotification as fault:
            raise self._refused(UNREADABLE, str(fault)) from fault
        if self._mode.livemode() not in (None, webhook.livemode):
            raise self._refused(OTHER_MODE, f"{webhook.event_id} is of the other mode: livemode {webhook.livemode}")
        try:
            await self._broker.deliver(self._topic, [(key, encode_webhook(webhook))])
        except Transient:
            self._registry.increase(WEBHOOKS, outcome=NOT_STORED)
            raise
        self._registry.increase(WEBHOOKS, outcome=STORED)
        self._registry.set(WEBHOOK_LAST_RECEIVED, now_ms / 1_000)
        return in_json(200, {"received": True})

    def _require(self, verdict: Verdict, *, but: Verdict = Verdict.GENUINE) -> None:
        if verdict not in (Verdict.GENUINE, but):
            raise self._refused(verdict.value, f"signature: {verdict}")

    def _refused(self, outcome: str, why: str) -> Refused:
        """The reason is counted and logged; whoever sent it is told nothing he could use."""
        self._registry.increase(WEBHOOKS, outcome=outcome)
        self._log.warning(f"a webhook was refused: {why}")
        return Refused(_NOT_TAKEN)
