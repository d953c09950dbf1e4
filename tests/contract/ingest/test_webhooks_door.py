"""The webhooks door on a real broker: what is genuine is stored as it came, what is not leaves nothing."""

from __future__ import annotations

import time

import pytest
import requests

from tests.conftest import Database
from tests.makers.ingest_room import OLD_SECRET, IngestRoom, a_notification, records, signed
from trueup.contracts.codec import decode_webhook
from trueup.contracts.topics import TopicNames
from trueup.ledger.store import deployment
from trueup.ledger.store.connection import connect
from trueup.runtime.settings import StreetSettings


def post(room: IngestRoom, body: bytes, signature: str | None, **headers: str) -> requests.Response:
    """One notification."""
    given = {"Content-Type": "application/json; charset=utf-8", **headers}
    given |= {} if signature is None else {"Stripe-Signature": signature}
    return requests.post(f"{room.url}/webhooks/stripe", data=body, headers=given, timeout=30)


def test_what_is_genuine_is_stored_as_it_came(room: IngestRoom, settings: StreetSettings) -> None:
    """By either secret, as often as it is told, up to 256 KiB: the body byte for byte, in the partition of its customer."""
    large = a_notification("evt_large", pad="x" * (256 * 1024 - 2_000))
    large += b" " * (256 * 1024 - len(large))
    sent = [(a_notification("evt_1"), None), (a_notification("evt_1"), None), (a_notification("evt_2"), OLD_SECRET), (large, None)]
    for body, secret in sent:
        header = signed(body) if secret is None else signed(body, secret)
        answer = post(room, body, header)
        assert (answer.status_code, answer.json()) == (200, {"received": True})
    found = records(settings, TopicNames(settings.topic_prefix).webhooks)
    webhooks = [decode_webhook(message.value() or b"") for message in found]
    assert sorted(webhook.body for webhook in webhooks) == sorted(body for body, _ in sent)
    assert {message.key() for message in found} == {b"cus_acme"}
    assert all(abs(webhook.received_at_ms / 1_000 - time.time()) < 120 for webhook in webhooks)
    assert room.metric('webhooks_total{outcome="stored"}') == 4
    assert room.metric("webhook_last_received_timestamp_seconds") > time.time() - 120


def test_what_is_not_genuine_leaves_nothing(room: IngestRoom, settings: StreetSettings) -> None:
    """Forged, tampered, old, of the future, unsigned: the same answer, which tells nothing; counted by what was wrong."""
    body, now = a_notification(), int(time.time())
    refused = {
        "missing": post(room, body, None),
        "wrong": post(room, body + b" ", signed(body)),
        "old": post(room, body, signed(body, at=now - 400)),
        "future": post(room, body, signed(body, at=now + 3_600)),
        "malformed": post(room, body, f"t={now}"),
        "unreadable": post(room, b"{}", signed(b"{}")),
    }
    assert {answer.status_code for answer in refused.values()} == {400}
    assert len({(answer.json()["title"], answer.json().get("detail")) for answer in refused.values()}) == 1
    assert {outcome: room.metric(f'webhooks_total{{outcome="{outcome}"}}') for outcome in refused} == dict.fromkeys(refused, 1.0)
    assert post(room, body, signed(body), **{"Content-Type": "text/plain"}).status_code == 415
    assert post(room, body, signed(body), **{"Content-Encoding": "gzip"}).status_code == 415
    over = a_notification(pad="x" * 256 * 1024)
    assert post(room, over, signed(over)).status_code == 413
    assert post(room, (piece for piece in [over]), signed(over)).status_code == 413  # type: ignore[arg-type]  # chunked
    assert records(settings, TopicNames(settings.topic_prefix).webhooks) == []


@pytest.mark.parametrize("livemode", [True, False])
def test_the_other_mode_is_refused(room: IngestRoom, database: Database, settings: StreetSettings, livemode: bool) -> None:
    """Once the ledger says which mode it serves, a notification of the other one is about other books."""
    with connect(database.dsn, "test") as connection:
        deployment.record(connection, deployment.Deployment("acct_1", livemode))
    other, own = a_notification(livemode=not livemode), a_notification(livemode=livemode)
    give_up_at = time.monotonic() + 30
    while post(room, other, signed(other)).status_code != 400:  # the room reads it within two seconds
        assert time.monotonic() < give_up_at
    assert post(room, own, signed(own)).status_code == 200
    assert room.metric('webhooks_total{outcome="other_mode"}') == 1
