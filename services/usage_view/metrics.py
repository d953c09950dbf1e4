"""Every metric of this room, each with what it means."""

from __future__ import annotations

from trueup.ledger.access.key_ring import KEYS_READ
from trueup.runtime.http.gate import DOOR_METRICS
from trueup.runtime.metrics import Kind, Metric, Registry

LINKS = Metric(
    Kind.COUNTER,
    "customer_links_total",
    "Signed links of customers: made, opened, refused. Much of refused is somebody who guesses, a changed secret, or a clock.",
    ("outcome",),
)
DISAGREEING = Metric(
    Kind.COUNTER,
    "usage_view_disagreeing_total",
    "Answers in which a final invoice bills something else than the ledger's own lines: `period show` and finance.invoice_lines say what.",
)
DATA_THROUGH = Metric(
    Kind.GAUGE,
    "usage_view_data_through_timestamp_seconds",
    "Before when everything that arrived was in the ledger, by the last answer. Standing still while usage arrives: capture is behind.",
)
BROKER_ASKED = Metric(
    Kind.GAUGE,
    "usage_view_broker_asked_timestamp_seconds",
    "When the broker last said where the source topic ends; without it data_through is cautious, nothing else is lost.",
)
MADE, OPENED, REFUSED = "made", "opened", "refused"


def registry(room: str) -> Registry:
    """All metrics of this room, those with a closed list of labels present from the first scrape on."""
    made = Registry(*DOOR_METRICS, KEYS_READ, LINKS, DISAGREEING, DATA_THROUGH, BROKER_ASKED, room=room)
    for outcome in (MADE, OPENED, REFUSED):
        made.increase(LINKS, 0, outcome=outcome)
    return made
