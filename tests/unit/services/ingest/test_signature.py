"""Webhook signatures: which are genuine, and that time counts in both directions."""

from __future__ import annotations

import json

import pytest
import stripe

from services.ingest.core.notification import UnreadableNotification, read_notification
from services.ingest.core.signature import Verdict, check
from tests.makers.ingest_room import OLD_SECRET, SECRET, a_notification, signed

NOW = 1_793_600_000
BODY = a_notification()
GOOD = signed(BODY, at=NOW)
HEX = GOOD.partition("v1=")[2]

TABLE: list[tuple[str, str | None, Verdict]] = [
    ("as it should be", GOOD, Verdict.GENUINE),
    ("by the secret that goes", signed(BODY, OLD_SECRET, NOW), Verdict.GENUINE),
    ("by both, as while one is rolled", f"t={NOW},v1={'0' * 64},v1={HEX}", Verdict.GENUINE),
    ("with another scheme beside it", f"t={NOW},v0={'1' * 64},v1={HEX}", Verdict.GENUINE),
    ("300 s old", signed(BODY, at=NOW - 300), Verdict.GENUINE),
    ("60 s ahead", signed(BODY, at=NOW + 60), Verdict.GENUINE),
    ("301 s old", signed(BODY, at=NOW - 301), Verdict.OLD),
    ("61 s ahead", signed(BODY, at=NOW + 61), Verdict.FUTURE),
    ("a day ahead", signed(BODY, at=NOW + 86_400), Verdict.FUTURE),
    ("ten years ahead", signed(BODY, at=NOW + 315_360_000), Verdict.FUTURE),
    ("none", None, Verdict.MISSING),
    ("empty", "", Verdict.MISSING),
    ("another's secret", signed(BODY, "whsec_other", NOW), Verdict.WRONG),
    ("an empty secret", signed(BODY, "", NOW), Verdict.WRONG),
    ("another body", signed(BODY + b" ", at=NOW), Verdict.WRONG),
    ("another instant", f"t={NOW - 1},v1={HEX}", Verdict.WRONG),
    ("only v0", f"t={NOW},v0={HEX}", Verdict.MALFORMED),
    ("no instant", f"v1={HEX}", Verdict.MALFORMED),
    ("two instants", f"t={NOW},t={NOW},v1={HEX}", Verdict.MALFORMED),
    ("an instant with an underscore", f"t=1_793_600_000,v1={HEX}", Verdict.MALFORMED),
    ("other digits", f"t={'١' * 10},v1={HEX}", Verdict.MALFORMED),
    ("a negative instant", f"t=-{NOW},v1={HEX}", Verdict.MALFORMED),
    ("a blank", f"t={NOW}, v1={HEX}", Verdict.MALFORMED),
    ("no hex", f"t={NOW},v1={'g' * 64}", Verdict.MALFORMED),
    ("half a signature", f"t={NOW},v1={HEX[:32]}", Verdict.MALFORMED),
    ("eleven signatures", f"t={NOW}" + f",v1={'0' * 64}" * 10 + f",v1={HEX}", Verdict.MALFORMED),
    ("a header of 5 KB", f"t={NOW},v1={HEX},v0={'0' * 5_000}", Verdict.MALFORMED),
    ("nonsense", "nonsense", Verdict.MALFORMED),
]


@pytest.mark.parametrize(("header", "verdict"), [pytest.param(header, verdict, id=name) for name, header, verdict in TABLE])
def test_verdict(header: str | None, verdict: Verdict) -> None:
    """The table of signatures."""
    assert check(header, BODY, (OLD_SECRET, SECRET), NOW * 1_000) is verdict


def test_without_a_secret_nothing_is_genuine() -> None:
    """An empty configuration must not open the door."""
    assert check(signed(BODY, "", NOW), BODY, (), NOW * 1_000) is Verdict.WRONG
    assert check(signed(BODY, "", NOW), BODY, ("",), NOW * 1_000) is Verdict.WRONG


def test_stripe_s_own_library_signs_the_same() -> None:
    """Ours is a check of theirs."""
    header = stripe.WebhookSignature.generate_signature_header(BODY.decode(), SECRET, timestamp=NOW)
    assert check(header, BODY, (SECRET,), NOW * 1_000) is Verdict.GENUINE


def test_notification() -> None:
    """What is kept, and under which key."""
    key, webhook = read_notification(BODY, GOOD, NOW * 1_000)
    assert (key, webhook.event_id, webhook.type) == (b"cus_acme", "evt_1", "invoice.created")
    assert (webhook.api_version, webhook.livemode, webhook.created_ms) == ("2026-10-28.dahlia", False, 1_793_500_000_000)
    assert (webhook.body, webhook.signature, webhook.received_at_ms) == (BODY, GOOD, NOW * 1_000)


@pytest.mark.parametrize(
    ("about", "key"),
    [
        ({"object": "customer", "id": "cus_acme"}, b"cus_acme"),
        ({"object": "subscription", "customer": {"id": "cus_acme"}}, b"cus_acme"),
        ({"object": "billing.meter", "id": "mtr_1"}, b"evt_1"),
        ({"object": "invoice", "customer": None}, b"evt_1"),
        ("text", b"evt_1"),
    ],
)
def test_key(about: object, key: bytes) -> None:
    """What happens to one customer stays in one partition."""
    assert read_notification(a_notification(data={"object": about}), GOOD, 0)[0] == key


def test_thin_notification() -> None:
    """No data, an instant as text, no version."""
    body = json.dumps({"id": "evt_t", "object": "v2.core.event", "type": "v1.x", "created": "2026-11-01T09:30:00.123Z", "livemode": True})
    key, webhook = read_notification(body.encode(), GOOD, 0)
    assert (key, webhook.created_ms, webhook.api_version, webhook.livemode) == (b"evt_t", 1_793_525_400_123, None, True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 200_000,
        b"{}",
        a_notification(id=""),
        a_notification(id=7),  # type: ignore[arg-type]
        a_notification(type="\ud800"),
        a_notification(livemode="false"),
        a_notification(created=True),
        a_notification(created=10**20),
        a_notification(created="noon"),
        a_notification(api_version=1),
    ],
)
def test_what_is_no_notification(body: bytes) -> None:
    """Signed or not."""
    with pytest.raises(UnreadableNotification):
        read_notification(body, GOOD, 0)
