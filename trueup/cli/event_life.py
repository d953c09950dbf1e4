"""`trueup events explain`: what the source topic and the ledger know of one event, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from trueup.cli.faults import AnswerIsNo
from trueup.cli.options import AsJson
from trueup.cli.output import emit_rows
from trueup.cli.source_scan import Delivered, scan
from trueup.cli.target import find_target, ledger
from trueup.contracts import keys
from trueup.contracts.events import UsageEvent
from trueup.ledger.store import journey, refusals
from trueup.ledger.store.connection import Connection
from trueup.ledger.store.journey import Fate, Step

COLUMNS = ("step", "at", "detail")
TOLD = {
    Fate.CAPTURED: "it is the one that counts",
    Fate.CAPTURED_LATE: "it is the one that counts; it came late",
    Fate.DROPPED: "a duplicate that the dedupe room remembered: in the counts and the id sum of its batch, counted once",
    Fate.DUPLICATE: "a duplicate that the ledger knew: counted once",
    Fate.CONFLICT: "the same id with another content: on the review desk, counted nowhere",
    Fate.REFUSED: "refused",
    Fate.NOT_YET_READ: "not yet read by the pipeline",
    Fate.LOST: "read past, and nothing of it was kept; this must not happen: run `trueup prove`, and keep the source topic",
}


def explain(
    source: Annotated[str, typer.Argument(help="The source of the event.")],
    id_: Annotated[str, typer.Argument(metavar="ID", help="Its id.")],
    as_json: AsJson = False,
) -> None:
    """Tell the life of one event. Deliveries, decisions, what went to Stripe and what Stripe counts. Exit 1 when nobody knows it."""
    target = find_target()
    deliveries = scan(target, source, id_)
    with ledger(target) as connection:
        steps = journey.explain(connection, source, id_)
        refused = [step for one in deliveries if (step := refused_unread(connection, one)) is not None]
        rows = [*delivery_rows(connection, deliveries, source, id_), *step_rows([*refused, *steps], source, id_)]
    # The instants of one record tell the order; what stands in the ledger at the same instant comes behind the delivery itself.
    rows.sort(key=lambda row: row["at"] or datetime.max.replace(tzinfo=UTC))
    emit_rows(rows, COLUMNS, as_json=as_json)
    if not rows:
        raise AnswerIsNo(f"no delivery of ({source}, {id_}) stands on the source topic, and the ledger does not know it")


def delivery_rows(connection: Connection, deliveries: Sequence[Delivered], source: str, id_: str) -> Iterator[dict[str, Any]]:
    """One row per record on the source topic, and what became of it."""
    identity = keys.identity(source, id_)
    for number, delivered in enumerate(deliveries, start=1):
        fate = journey.fate_of(connection, delivered.partition, delivered.offset, identity)
        settled = "" if fate.batch_id is None else f"; batch {fate.batch_id}"
        reason = "" if fate.reason is None else f" ({fate.reason})"
        where = f"partition {delivered.partition}, offset {delivered.offset}, {delivered.framing} framing"
        detail = f"delivery {number} of {len(deliveries)}: {where}, {content(delivered, fate.fate)}: {TOLD[fate.fate]}{reason}{settled}"
        at = datetime.fromtimestamp(delivered.arrival_ms / 1000, UTC)
        yield {"source": source, "event_id": id_, "step": "delivered", "at": at, "detail": detail, "outcome": str(fate.fate)}


def content(delivered: Delivered, fate: Fate) -> str:
    """What a record holds, or how its name is known when it could not be read whole."""
    if isinstance(delivered.stated, UsageEvent):
        return f"quantity {delivered.stated.quantity}, payload {keys.payload_hash(delivered.stated).hex()[:16]}"
    if fate is Fate.REFUSED:
        return "id and source read from the front of a record that was refused"
    return "id and source read from the front of a record that this command cannot read whole"


def refused_unread(connection: Connection, delivered: Delivered) -> Step | None:
    """The refusal of bytes that gave the pipeline no name: the ledger knows it by its place only, so the journey does not show it."""
    if isinstance(delivered.stated, UsageEvent):
        return None
    row = refusals.one(connection, delivered.partition, delivered.offset)
    if row is None or row["source"] is not None:
        return None
    field = "" if row["field"] is None else f"; field {row['field']}"
    where = f"partition {delivered.partition}, offset {delivered.offset}"
    return Step("refused", row["arrival"], f"{where}: {row['reason']}{field}; {row['detail']}")


def step_rows(steps: Sequence[Step], source: str, id_: str) -> Iterator[dict[str, Any]]:
    """One row per step in the ledger."""
    for step in steps:
        yield {"source": source, "event_id": id_, "step": step.step, "at": step.at, "detail": step.detail}
