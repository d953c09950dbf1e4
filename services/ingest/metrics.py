"""Every metric of this room, each with what it means."""

from __future__ import annotations

from services.ingest.core.signature import Verdict
from trueup.ledger.access.key_ring import KEYS_READ
from trueup.runtime.http.gate import DOOR_METRICS
from trueup.runtime.metrics import Kind, Metric, Registry

ROOM = "ingest"
OUTCOMES = ("accepted", "refused", "unavailable")

EVENTS = Metric(
    Kind.COUNTER,
    "events_total",
    "Events at the HTTP door. accepted: the broker has them; unavailable: the client was told to send again, some may have arrived.",
    ("room", "outcome"),
)
UNACKNOWLEDGED = Metric(Kind.GAUGE, "unacknowledged_records", "Records given to the Kafka client that the broker has not acknowledged yet.")
COMMIT_SECONDS = Metric(Kind.HISTOGRAM, "commit_seconds", "From giving the records of a request to Kafka until all are acknowledged.")
WEBHOOKS = Metric(
    Kind.COUNTER,
    "webhooks_total",
    "Webhooks by what became of them. stored is genuine and kept; much of wrong, old or future is a secret or a clock to look at.",
    ("outcome",),
)
WEBHOOK_LAST_RECEIVED = Metric(
    Kind.GAUGE, "webhook_last_received_timestamp_seconds", "When a genuine webhook was stored last; 0 while none was since the start."
)
BROKER_REACHABLE = Metric(Kind.GAUGE, "broker_reachable", "Whether the broker answered when asked last; at 0 every door answers 503.")
CATALOGUE_VERSION = Metric(Kind.GAUGE, "catalogue_version", "Newest catalogue version read; 0 means none exists, and no event is taken.")

STORED, UNREADABLE, OTHER_MODE, NOT_STORED = "stored", "unreadable", "other_mode", "unavailable"


def registry(room: str) -> Registry:
    """All metrics of this room, those with a closed list of labels present from the first scrape on."""
    made = Registry(
        EVENTS,
        *DOOR_METRICS,
        UNACKNOWLEDGED,
        COMMIT_SECONDS,
        WEBHOOKS,
        WEBHOOK_LAST_RECEIVED,
        BROKER_REACHABLE,
        KEYS_READ,
        CATALOGUE_VERSION,
        room=room,
    )
    for outcome in OUTCOMES:
        made.increase(EVENTS, 0, room=ROOM, outcome=outcome)
    for verdict in (*[verdict.value for verdict in Verdict if verdict is not Verdict.GENUINE], STORED, UNREADABLE, OTHER_MODE, NOT_STORED):
        made.increase(WEBHOOKS, 0, outcome=verdict)
    return made
