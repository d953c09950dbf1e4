"""`trueup rejected`: events refused with a reason, their bytes, and sending them again once the cause is mended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from trueup.cli.consent import ask, require_reason
from trueup.cli.faults import AnswerIsNo, UsageFault
from trueup.cli.options import AsJson, Reason, Yes
from trueup.cli.output import emit_record, emit_rows, say
from trueup.cli.target import Target, find_target, ledger
from trueup.contracts.events import RefusalReason
from trueup.contracts.topics import HEADER_TRUNCATED, TopicNames, is_own_header
from trueup.ledger.store import refusals
from trueup.ledger.store.connection import Connection
from trueup.runtime.kafka import REQUEST_TIMEOUT_SECONDS, client_options, producer_options

COLUMNS = (
    "source_partition",
    "source_offset",
    "arrival",
    "reason",
    "field",
    "detail",
    "source",
    "event_id",
    "customer",
    "meter",
    "record_bytes",
    "counted_at",
)
PLACE = re.compile(r"(\d+):(\d+)", re.ASCII)


def register(app: typer.Typer) -> None:
    """Adds the verbs."""
    nouns = typer.Typer(help="Events refused with a reason; their bytes.", no_args_is_help=True)
    nouns.command("list")(list_)
    nouns.command("show")(show)
    nouns.command("redrive")(redrive)
    app.add_typer(nouns, name="rejected")


def list_(
    reason: Annotated[RefusalReason | None, typer.Option("--reason", help="Only this reason.")] = None,
    customer: Annotated[str | None, typer.Option("--customer", help="Only this customer.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show the newest refusals.

    One with `counted_at` was sent again since, and its event counts.
    """
    with ledger(find_target()) as connection:
        rows = refusals.page(connection, reason=reason and str(reason), customer=customer, most=limit, counted=True)
    emit_rows(rows, COLUMNS, as_json=as_json)


def show(
    place: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="Where it stood on the source topic, as `list` says.")],
    raw: Annotated[Path | None, typer.Option("--raw", help="Write the bytes to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one refusal with its bytes, in hex."""
    at = place_of(place)
    target = find_target()
    with ledger(target) as connection:
        row = refused_at(connection, at)
    record = row.pop("record")
    message = None if record is not None else on_rejected_topic(target, row["source_partition"], row["rejected_offset"])
    row.pop("rejected_offset")
    content = bytes(record) if record is not None else None if message is None else message.value()
    if raw is not None:
        raw.write_bytes(content or b"")
        say(f"{len(content or b'')} bytes written to {raw}")
    emit_record({**row, "record_hex": None if content is None else content.hex()}, as_json=as_json)


def redrive(
    reason: Reason,
    places: Annotated[list[str] | None, typer.Argument(metavar="PARTITION:OFFSET…", help="Which, as `list` says.")] = None,
    refused_as: Annotated[
        RefusalReason | None, typer.Option("--refused-as", help="All refused for this that don't count by now, up to --limit.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest.")] = 1_000,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send refused events again. They go as the bytes they came in, after their cause was mended.

    A refused event left no id behind, so it is judged as if it came now for the first time; what is refused again stands in
    `list` again. An event of which the dedupe room kept only the beginning can't be sent.
    """
    why = require_reason(reason)
    if bool(places) == bool(refused_as):
        raise UsageFault("say which: PARTITION:OFFSET, or --refused-as REASON")
    wanted = [place_of(place) for place in places or ()]
    target = find_target()
    with ledger(target) as connection:
        if refused_as is not None:
            found = refusals.page(connection, reason=str(refused_as), customer=None, most=limit, counted=False)
            wanted = [(row["source_partition"], row["source_offset"]) for row in found]
        rows = [refused_at(connection, place) for place in wanted]
    if not rows:
        raise AnswerIsNo(f"nothing that was refused as {refused_as} is left to be sent")
    ask(f"Send {len(rows)} refused events again?", yes=yes)
    sent, left = send_again(target, rows, why)
    emit_record({"sent": sent, "left": left}, as_json=as_json)
    if left:
        raise AnswerIsNo(f"{len(left)} of {len(rows)} were not sent")
    say(f"{sent} sent again.")


def place_of(text: str) -> tuple[int, int]:
    """Partition and offset on the source topic."""
    found = PLACE.fullmatch(text)
    if found is None:
        raise UsageFault(f"{text!r} is not PARTITION:OFFSET, such as 3:17")
    return int(found[1]), int(found[2])


def refused_at(connection: Connection, place: tuple[int, int]) -> dict[str, Any]:
    """The refusal of the record that stood there."""
    row = refusals.one(connection, *place)
    if row is None:
        raise AnswerIsNo(f"nothing was refused at {place[0]}:{place[1]}")
    return row


def send_again(target: Target, rows: Sequence[dict[str, Any]], why: str) -> tuple[int, list[dict[str, str]]]:
    """Publishes the refused bytes; returns when the broker has them, with what could not be sent and why."""
    left: list[dict[str, str]] = []
    sent: list[str] = []
    producer = Producer(producer_options(target.settings))
    topic = TopicNames(target.settings.topic_prefix).usage_events

    for row in rows:
        place = f"{row['source_partition']}:{row['source_offset']}"
        message = on_rejected_topic(target, row["source_partition"], row["rejected_offset"])
        fault = whole(message)
        if message is None or fault:
            left.append({"place": place, "why": fault})
            continue

        def delivered(failure: KafkaError | None, _: Message, place: str = place) -> None:
            if failure is None:
                sent.append(place)
            else:
                left.append({"place": place, "why": failure.str()})

        headers = [header for header in dict(message.headers() or []).items() if not is_own_header(header[0])]
        # The source topic keeps who sent it again; the dedupe room takes headers in our own name away.
        headers.append(("trueup-redriven", f"{place} {why}".encode()))
        # Under the simulated clock a record carries its arrival; else the broker dates it and nothing we say matters.
        producer.produce(topic, message.value(), message.key(), on_delivery=delivered, timestamp=target.clock.now_ms(), headers=headers)
    producer.flush(REQUEST_TIMEOUT_SECONDS)
    if len(sent) + len(left) < len(rows):
        raise AnswerIsNo(f"Kafka did not acknowledge {len(rows) - len(sent) - len(left)} of {len(rows)} in time; they may be there")
    return len(sent), left


def whole(message: Message | None) -> str:
    """Why a refused record can't be sent again; empty when it can."""
    if message is None:
        return "usage.rejected.v1 keeps it no longer"
    truncated = dict(message.headers() or []).get(HEADER_TRUNCATED)
    return "" if truncated is None else "only the beginning of its bytes was kept"


def on_rejected_topic(target: Target, partition: int, offset: int) -> Message | None:
    """The record as it stands on the rejected topic; None when it is kept no longer."""
    topic = TopicNames(target.settings.topic_prefix).rejected
    options = {**client_options(target.settings), "group.id": "trueup.rejected", "enable.auto.commit": False}
    consumer = Consumer({**options, "isolation.level": "read_committed", "auto.offset.reset": "error"})
    try:
        consumer.assign([TopicPartition(topic, partition, offset)])
        message = consumer.poll(REQUEST_TIMEOUT_SECONDS)
    finally:
        consumer.close()
    if message is None or message.offset() != offset:
        return None
    fault = message.error()
    if fault is not None:
        raise KafkaException(fault)
    return message
