"""The topics, declared once: what each holds, who writes and reads it, and its settings, each with the reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

USAGE_EVENTS = "usage.events.v1"
ON_TIME = "usage.on_time.v1"
LATE = "usage.late.v1"
REJECTED = "usage.rejected.v1"
PROGRESS = "usage.progress.v1"
CORRECTIONS = "usage.corrections.v1"
WEBHOOKS = "stripe.webhooks.v1"
CATALOGUE = "trueup.catalogue.v1"

HEADER_ARRIVAL = "trueup-arrival"
"""Append time on the source topic, in milliseconds, as decimal text."""
HEADER_SOURCE = "trueup-source"
"""Where the record stood on the source topic: `partition:offset`."""
HEADER_LATE_BY = "trueup-late-by"
"""By how many milliseconds the event missed its billing window, as decimal text."""
HEADER_SUSPECT = "trueup-suspect"
"""On a suspected conflict: the remembered record hash, in hex."""
HEADER_REASON = "trueup-reason"
"""Why a record was refused: a value of `RefusalReason`."""
HEADER_FIELD = "trueup-field"
"""Which field a record was refused for, where it was one."""

HEADER_TRUNCATED = "trueup-truncated"
"""On a refused record that its topic could not hold whole: how many bytes it had, as decimal text."""

HEADER_ERROR_TOPIC = "__connect.errors.topic"
HEADER_ERROR_PARTITION = "__connect.errors.partition"
HEADER_ERROR_OFFSET = "__connect.errors.offset"
HEADER_ERROR_CONNECTOR = "__connect.errors.connector.name"
HEADER_ERROR_STAGE = "__connect.errors.stage"
HEADER_ERROR_CLASS = "__connect.errors.exception.class.name"
HEADER_ERROR_MESSAGE = "__connect.errors.exception.message"

_OWN_HEADERS = ("trueup-", "__connect.errors.")


def is_own_header(name: str) -> bool:
    """Says whether a header's name is ours: what a producer says under it is dropped, behind the dedupe room it is that room's word."""
    return name.startswith(_OWN_HEADERS)


DEDUPE_GROUP = "trueup.dedupe"
"""The consumer group of the dedupe room, whose offsets say what of the source topic is decided."""

LARGEST_USAGE_RECORD_BYTES = 2 * 1024 * 1024
"""What the usage topics still take, so that a record far over the cap of 64 KiB is refused with a reason, not lost at its producer."""
LARGEST_REJECTED_RECORD_BYTES = LARGEST_USAGE_RECORD_BYTES + 1024 * 1024
"""What the rejected topic takes: the largest usage record and the headers that say what was wrong with it."""
LARGEST_PROGRESS_RECORD_BYTES = 16 * 1024 * 1024
"""What the progress topic takes; its producer needs this as `message.max.bytes`."""

CATALOGUE_DELAY_MS = 60_000
"""A catalogue version after the first is in force from its append time plus this."""

_DAY_MS = 86_400_000
_FOR_EVER = "-1"


@dataclass(frozen=True, slots=True)
class TopicNames:
    """The names in use; a prefix keeps several deployments (or tests) apart on one cluster."""

    prefix: str = ""

    @property
    def usage_events(self) -> str:
        """What services publish."""
        return self.prefix + USAGE_EVENTS

    @property
    def on_time(self) -> str:
        """Events inside their billing window."""
        return self.prefix + ON_TIME

    @property
    def late(self) -> str:
        """Events that missed their billing window."""
        return self.prefix + LATE

    @property
    def rejected(self) -> str:
        """Refused bytes, with the reason."""
        return self.prefix + REJECTED

    @property
    def progress(self) -> str:
        """What the dedupe room did, batch by batch."""
        return self.prefix + PROGRESS

    @property
    def corrections(self) -> str:
        """A feed of what the ledger corrected."""
        return self.prefix + CORRECTIONS

    @property
    def webhooks(self) -> str:
        """What Stripe told us, verified."""
        return self.prefix + WEBHOOKS

    @property
    def catalogue(self) -> str:
        """Catalogue versions."""
        return self.prefix + CATALOGUE


@dataclass(frozen=True, slots=True)
class Topic:
    """A declared topic; `name` carries the prefix, `kind` is the name without it, `reasons` says why each setting has its value."""

    name: str
    kind: str
    partitions: int
    replication_factor: int
    record: str
    written_by: tuple[str, ...]
    read_by: tuple[str, ...]
    settings: Mapping[str, str]
    reasons: Mapping[str, str]


_Setting = tuple[str, str]  # The value and its reason.


@dataclass(frozen=True, slots=True)
class _Row:
    kind: str
    record: str
    written_by: tuple[str, ...]
    read_by: tuple[str, ...]
    days: int | None
    largest_bytes: int | None = None
    append_time: bool = False
    one_partition: bool = False


_ROWS = (
    _Row(
        USAGE_EVENTS,
        "usage_event",
        ("any service", "ingest"),
        ("dedupe",),
        days=40,
        largest_bytes=LARGEST_USAGE_RECORD_BYTES,
        append_time=True,
    ),
    _Row(ON_TIME, "usage_event", ("dedupe",), ("stripe_sink",), days=14),
    _Row(LATE, "usage_event", ("dedupe",), ("stripe_sink",), days=14),
    _Row(REJECTED, "original bytes", ("dedupe",), ("stripe_sink", "rejected tool"), days=40, largest_bytes=LARGEST_REJECTED_RECORD_BYTES),
    _Row(PROGRESS, "usage_progress", ("dedupe",), ("dedupe", "stripe_sink"), days=14, largest_bytes=LARGEST_PROGRESS_RECORD_BYTES),
    _Row(CORRECTIONS, "correction", ("reconciler",), ("others",), days=40),
    _Row(WEBHOOKS, "stripe_webhook", ("ingest",), ("reconciler",), days=40),
    _Row(
        CATALOGUE,
        "catalogue_version",
        ("catalogue tool",),
        ("dedupe", "ingest", "stripe_sink"),
        days=None,
        append_time=True,
        one_partition=True,
    ),
)


def declared(
    simulated: bool,
    partitions: int = 12,
    *,
    prefix: str = "",
    replication_factor: int = -1,
    min_insync_replicas: int | None = None,
) -> tuple[Topic, ...]:
    """Give every topic of a deployment; `simulated` says that the street runs on the simulated clock.

    A replication factor of -1 and no `min_insync_replicas` leave both to the cluster's own defaults.
    """
    topics = []
    for row in _ROWS:
        settings = _settings(row, simulated, min_insync_replicas)
        topics.append(
            Topic(
                name=prefix + row.kind,
                kind=row.kind,
                partitions=1 if row.one_partition else partitions,
                replication_factor=replication_factor,
                record=row.record,
                written_by=row.written_by,
                read_by=row.read_by,
                settings=MappingProxyType({key: value for key, (value, _) in settings.items()}),
                reasons=MappingProxyType({key: reason for key, (_, reason) in settings.items()}),
            )
        )
    return tuple(topics)


def _settings(row: _Row, simulated: bool, min_insync_replicas: int | None) -> dict[str, _Setting]:
    settings = {
        "cleanup.policy": ("delete", "compaction would drop all but a customer's newest record"),
        "retention.ms": _retention(row, simulated),
        "retention.bytes": ("-1", "a size limit would drop usage in silence on a busy day"),
        "message.timestamp.type": _timestamp_type(row, simulated),
        "compression.type": ("producer", "the broker keeps the batches as they were sent instead of packing them anew"),
        "unclean.leader.election.enable": ("false", "a replica that lacks acknowledged records must never lead"),
    }
    if min_insync_replicas is not None:
        settings["min.insync.replicas"] = (str(min_insync_replicas), "acks=all means this many copies before a producer hears yes")
    if row.largest_bytes is not None:
        settings["max.message.bytes"] = (str(row.largest_bytes), _largest_reason(row))
    if simulated:
        # Bursts of the simulated month are written out of the order of real time; a segment rolled by record time would be one per burst.
        settings["segment.ms"] = (str(2**62), "segments roll by size: simulated record times say nothing about age")
    return settings


def _largest_reason(row: _Row) -> str:
    if row.kind == PROGRESS:
        return "a batch of new ids weighs 24 bytes an id: several MiB after a long standstill"
    return "records far over the 64 KiB cap must arrive, so that they are refused with a reason instead of lost at the producer"


def _retention(row: _Row, simulated: bool) -> _Setting:
    if row.days is None:
        return (_FOR_EVER, "every decision ever taken names the version it was taken under")
    if simulated:
        return (_FOR_EVER, "the simulated month lies in the past: retention by record time would delete it at once")
    return (str(row.days * _DAY_MS), f"kept {row.days} days: the longest outage plus a replay of the period")


def _timestamp_type(row: _Row, simulated: bool) -> _Setting:
    if row.append_time and not simulated:
        return ("LogAppendTime", "arrival is the broker's fact, not the producer's claim")
    if row.append_time:
        return ("CreateTime", "with the simulated clock the record carries its simulated arrival")
    return ("CreateTime", "no decision reads this topic's record time")
