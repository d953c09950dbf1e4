"""`trueup rejected`: events refused with a reason, and their bytes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from confluent_kafka import Consumer, KafkaException, TopicPartition

from trueup.cli.faults import AnswerIsNo, UsageFault
from trueup.cli.options import AsJson
from trueup.cli.output import emit_record, emit_rows, say
from trueup.cli.target import Target, find_target, ledger
from trueup.contracts.events import RefusalReason
from trueup.contracts.topics import TopicNames
from trueup.ledger.store import refusals
from trueup.runtime.kafka import REQUEST_TIMEOUT_SECONDS, client_options

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
)
PLACE = re.compile(r"(\d+):(\d+)", re.ASCII)


def register(app: typer.Typer) -> None:
    """Adds the verbs."""
    nouns = typer.Typer(help="Events refused with a reason; their bytes.", no_args_is_help=True)
    nouns.command("list")(list_)
    nouns.command("show")(show)
    app.add_typer(nouns, name="rejected")


def list_(
    reason: Annotated[RefusalReason | None, typer.Option("--reason", help="Only this reason.")] = None,
    customer: Annotated[str | None, typer.Option("--customer", help="Only this customer.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show the newest refusals."""
    with ledger(find_target()) as connection:
        rows = refusals.page(connection, reason=reason and str(reason), customer=customer, most=limit)
    emit_rows(rows, COLUMNS, as_json=as_json)


def show(
    place: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="Where it stood on the source topic, as `list` says.")],
    raw: Annotated[Path | None, typer.Option("--raw", help="Write the bytes to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one refusal with its bytes, in hex."""
    found = PLACE.fullmatch(place)
    if found is None:
        raise UsageFault(f"{place!r} is not PARTITION:OFFSET, such as 3:17")
    target = find_target()
    with ledger(target) as connection:
        row = refusals.one(connection, int(found[1]), int(found[2]))
    if row is None:
        raise AnswerIsNo(f"nothing was refused at {place}")
    record = row.pop("record")
    rejected_offset = row.pop("rejected_offset")
    content = bytes(record) if record is not None else rejected_bytes(target, row["source_partition"], rejected_offset)
    if raw is not None:
        raw.write_bytes(content or b"")
        say(f"{len(content or b'')} bytes written to {raw}")
    emit_record({**row, "record_hex": None if content is None else content.hex()}, as_json=as_json)


def rejected_bytes(target: Target, partition: int, offset: int) -> bytes | None:
    """The bytes as they stand on the rejected topic; None when it keeps them no longer, or when the record had no value."""
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
    return message.value()
