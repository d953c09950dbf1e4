"""What capture measures."""

from __future__ import annotations

from trueup.runtime.metrics import Kind, Metric

ROOM = "stripe_sink"
OUTCOMES = ("on_time", "late", "duplicate", "conflict", "refused")

EVENTS = Metric(
    Kind.COUNTER,
    "events_total",
    "Events whose end stands in the ledger, by where they ended. Duplicates are those that dedupe no longer remembered.",
    ("room", "outcome"),
)
COMMIT_SECONDS = Metric(Kind.HISTOGRAM, "commit_seconds", "One capture transaction, from its first statement to its commit.")
ARRIVAL_TO_LEDGER = Metric(
    Kind.HISTOGRAM,
    "arrival_to_ledger_seconds",
    "From the append time of a dedupe batch's last event to its commit in the ledger, once per batch.",
)
OLDEST = Metric(
    Kind.GAUGE,
    "oldest_unprocessed_timestamp_seconds",
    "Arrival of the oldest event that was read and is not in the ledger; 0 while none waits. Only the owner of a partition shows it.",
    ("topic", "partition"),
)
LAG = Metric(
    Kind.GAUGE,
    "lag_records",
    "Offsets between what the ledger holds and the end of the partition, control records included. Only the owner shows it.",
    ("topic", "partition"),
)
OWNED = Metric(Kind.GAUGE, "partitions_owned", "Source partitions that this sink captures now.")
FENCED = Metric(Kind.COUNTER, "capture_fenced_total", "Batches refused because another sink had taken the partition over. Harmless.")
FAILURES = Metric(
    Kind.COUNTER, "capture_failures_total", "Capture transactions that failed and are run again. Rising means the ledger is away."
)
TERMINATED = Metric(
    Kind.COUNTER, "barrier_terminated_total", "Connections ended because they held the posting barrier for over 10 s. Each needs a look."
)
CATALOGUE_VERSION = Metric(Kind.GAUGE, "catalogue_version", "Newest catalogue version read; 0 means none exists, and capture waits.")

ALL = (EVENTS, COMMIT_SECONDS, ARRIVAL_TO_LEDGER, OLDEST, LAG, OWNED, FENCED, FAILURES, TERMINATED, CATALOGUE_VERSION)
