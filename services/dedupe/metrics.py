"""Every metric of the dedupe room, each with the sentence an operator needs."""

from __future__ import annotations

from trueup.contracts.events import RefusalReason
from trueup.runtime.metrics import Kind, Metric, Registry

ROOM = "dedupe"
OUTCOMES = ("on_time", "late", "duplicate", "refused")

EVENTS = Metric(
    Kind.COUNTER,
    "events_total",
    "Events decided, by where they ended. Suspected conflicts are among on_time and late; the ledger decides about them.",
    ("room", "outcome"),
)
SUSPECTS = Metric(
    Kind.COUNTER,
    "suspects_total",
    "Known id, other bytes: forwarded for the ledger to judge. One is a bug of a producer, ten a minute an incident.",
)
REFUSED = Metric(Kind.COUNTER, "refused_total", "Events refused, by reason; their bytes are on usage.rejected.v1.", ("reason",))
COMMIT_SECONDS = Metric(
    Kind.HISTOGRAM, "commit_seconds", "From opening a transaction to its commit: outputs, progress and offsets of one batch."
)
ABORTED = Metric(
    Kind.COUNTER,
    "transactions_aborted_total",
    "Transactions taken back, as in a rebalance; their input is read again. Rising means no progress.",
)
OLDEST = Metric(
    Kind.GAUGE,
    "oldest_unprocessed_timestamp_seconds",
    "Arrival of the oldest event not yet decided, as far as it is known; 0 while none waits.",
    ("topic", "partition"),
)
LAG = Metric(
    Kind.GAUGE,
    "lag_records",
    "Offsets between what is decided and the end of the partition. Only the owner of a partition shows it.",
    ("topic", "partition"),
)
OWNED = Metric(Kind.GAUGE, "partitions_owned", "Source partitions this worker decides now.")
REMEMBERED = Metric(Kind.GAUGE, "remembered_ids", "Ids in memory, of 48 hours of arrivals; about 250 bytes each.")
RESTORE_SECONDS = Metric(
    Kind.HISTOGRAM,
    "restore_seconds",
    "From gaining partitions to their memory being restored, the wait for an old owner's transaction included.",
)
CATALOGUE_VERSION = Metric(Kind.GAUGE, "catalogue_version", "Newest catalogue version read; 0 means none exists, and the room waits.")


def registry(topic: str, partitions: int, room: str) -> Registry:
    """All metrics of this room, every label combination present from the first scrape on."""
    made = Registry(
        EVENTS, SUSPECTS, REFUSED, COMMIT_SECONDS, ABORTED, OLDEST, LAG, OWNED, REMEMBERED, RESTORE_SECONDS, CATALOGUE_VERSION, room=room
    )
    for outcome in OUTCOMES:
        made.increase(EVENTS, 0, room=ROOM, outcome=outcome)
    for reason in RefusalReason:
        made.increase(REFUSED, 0, reason=reason.value)
    for partition in range(partitions):
        made.set(OLDEST, 0, topic=topic, partition=str(partition))
        made.set(LAG, 0, topic=topic, partition=str(partition))
    return made
