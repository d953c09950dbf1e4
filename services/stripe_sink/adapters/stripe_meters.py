"""Stripe as dispatch sees it: one call at a time, whose answer is a plain value, whatever happened on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import requests
import stripe
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from services.stripe_sink.core.dispatch_outcome import Answer, Reached
from trueup.contracts.errors import Transient
from trueup.ledger.store.deployment import Deployment
from trueup.runtime.stripe_client import account_of, stripe_client

PAGE = 100  # the most that Stripe gives at once; its default of 10 is a trap
CONNECT_TIMEOUT_SECONDS = 2.0
READ_TIMEOUT_SECONDS = 8.0


class StripeMeters:
    """Sends meter events and reads summaries. Safe to share between threads: each has its own kept-alive connection."""

    def __init__(
        self,
        api_key: str,
        base_address: str | None = None,
        *,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        self.longest_call_seconds = connect_timeout_seconds + read_timeout_seconds
        self._api_key = api_key
        self._client = stripe_client(
            api_key,
            base_address,
            connect_timeout_seconds=connect_timeout_seconds,
            read_timeout_seconds=read_timeout_seconds,
        )
        self._meters: Mapping[str, str] = {}

    def send(self, body: Mapping[str, object], idempotency_key: str) -> Answer:
        """Send one meter event, once. Never raises for what Stripe or the network did."""
        try:
            received = self._client.v1.billing.meter_events.create(cast(Any, dict(body)), {"idempotency_key": idempotency_key})
        except stripe.StripeError as error:
            return answer_of(error)
        except UnicodeDecodeError:
            # The SDK does not survive a body that is no UTF-8. Something answered; it was not Stripe.
            return Answer(Reached.LOST, message="the answer is no text")
        except Exception as error:  # whatever else the SDK raises says nothing about the call, and the table halts the lane
            return Answer(Reached.INEXPLICABLE, message=_last_line(error))
        last = received.last_response
        content = json.loads(last.body) if last is not None else None
        return Answer(Reached.ANSWERED, last.code if last is not None else None, content, last.request_id if last is not None else None)

    def account(self) -> Deployment:
        """Whose key this is, and in which mode; Transient while Stripe does not say."""
        return Deployment(*account_of(self._client, self._api_key))

    def summary_values(self, stripe_customer: str, event_name: str, start_ms: int, end_ms: int) -> Sequence[float]:
        """The summary between two whole minutes, all pages; empty when there is no such meter or no usage."""
        try:
            meter = self._meter(event_name)
            if meter is None:
                return ()
            found = self._client.v1.billing.meters.event_summaries.list(
                meter,
                {"customer": stripe_customer, "start_time": start_ms // 1_000, "end_time": end_ms // 1_000, "limit": PAGE},
            )
            return tuple(float(item.aggregated_value) for item in found.auto_paging_iter())
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":
                return ()  # a customer that Stripe does not know has no usage there
            raise Transient(f"Stripe's summary could not be read: {error}") from error
        except stripe.StripeError as error:
            raise Transient(f"Stripe's summary could not be read: {error}") from error

    def _meter(self, event_name: str) -> str | None:
        """The meter's id; asked once more when it is not known, since meters are made all the time but never renamed."""
        if event_name not in self._meters:
            listed = self._client.v1.billing.meters.list({"limit": PAGE})
            self._meters = {meter.event_name: meter.id for meter in listed.auto_paging_iter()}
        return self._meters.get(event_name)


def answer_of(error: stripe.StripeError) -> Answer:
    """What the SDK's exception says, as a plain value."""
    if isinstance(error, stripe.APIConnectionError):
        return Answer(_how_far(error), message=_last_line(error))
    if error.http_status is None:
        return Answer(Reached.INEXPLICABLE, message=_last_line(error))
    content = error.json_body if isinstance(error.json_body, dict) else _decoded(error.http_body)
    return Answer(Reached.ANSWERED, error.http_status, content, error.request_id, _last_line(error) if content is None else "")


def _how_far(error: BaseException) -> Reached:
    """Tell a connection that never was from one that broke.

    Only if the connection was refused, or could not be opened in time, is it sure that nothing arrived.
    """
    causes = list(_causes(error))
    if any(isinstance(cause, NewConnectionError | ConnectTimeoutError | ConnectionRefusedError) for cause in causes):
        return Reached.NOT_CONNECTED
    if any(isinstance(cause, requests.RequestException) for cause in causes):
        return Reached.LOST
    return Reached.INEXPLICABLE


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all behind it: causes, `reason` attributes and wrapped arguments, as requests and urllib3 nest them."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        current = waiting.pop()
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [current.__cause__, getattr(current, "reason", None), *current.args]


def _decoded(body: object) -> object:
    """The JSON of a body that the SDK would not accept; None where it is none."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    if not isinstance(text, str):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _last_line(error: BaseException) -> str:
    """Enough to tell a person what happened, and no more than a line; the key stands only in headers, never here."""
    lines = str(error).strip().splitlines()
    return lines[-1][:300] if lines else type(error).__name__
