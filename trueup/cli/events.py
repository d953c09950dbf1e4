"""`trueup events`: publishing usage from a file, and the life of one event."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from trueup.cli import catalogue_topic
from trueup.cli.event_life import explain
from trueup.cli.faults import AnswerIsNo, UsageFault
from trueup.cli.lines import Accepted, RefusedLine, read_jsonl, shifted
from trueup.cli.options import AsJson
from trueup.cli.output import emit_json, emit_rows, say
from trueup.cli.target import Target, find_target
from trueup.cli.traces import DEFAULT_MAP, SOURCE, TraceOptions, parse_map, read_trace
from trueup.contracts.events import UsageEvent
from trueup.publisher import Backlogged, InvalidUsage, Publisher
from trueup.publisher.environment import PublisherSettings

FORMATS = ("jsonl", "csv")
STDIN = "stdin"
TOLD_EVERY_SECONDS = 5.0


def register(app: typer.Typer) -> None:
    """Adds the verbs."""
    nouns = typer.Typer(help="Publishing usage, and what became of it.", no_args_is_help=True)
    nouns.command("send")(send)
    nouns.command("explain")(explain)
    app.add_typer(nouns, name="events")


def send(
    file: Annotated[str, typer.Argument(help="A file, or - for stdin.")],
    format_: Annotated[str | None, typer.Option("--format", help="jsonl or csv; by the file's name when left out.")] = None,
    map_: Annotated[
        str, typer.Option("--map", help="Columns of a CSV: time=COLUMN,customer=COLUMN,id=COLUMN,meter:NAME=COLUMN,…")
    ] = DEFAULT_MAP,
    shift: Annotated[bool, typer.Option("--shift", help="Move all events in time so that the newest ends now.")] = False,
    customers: Annotated[int, typer.Option("--customers", min=1, max=999, help="Spread a CSV without a customer column over so many.")] = 1,
    source: Annotated[str, typer.Option("--source", help="The source of a CSV's events.")] = SOURCE,
    as_json: AsJson = False,
) -> None:
    """Publish events; sending the same file again is always safe."""
    name, content = read_input(file)
    target = find_target()
    scales = catalogue_topic.scales(target)
    if not scales:
        raise UsageFault("this deployment has no catalogue yet: `trueup catalogue apply FILE`")
    verdicts: Iterable[Accepted | RefusedLine]
    if chosen_format(format_, name) == "csv":
        if name == STDIN and parse_map(map_).id is None:
            # Named by its content, a file that is mended and sent again would be counted twice. Named alike, another one is found out.
            say("a CSV from a pipe is called stdin in its ids: another one conflicts with it; --source or id=COLUMN keeps them apart")
        verdicts = read_trace(content, TraceOptions(name, parse_map(map_), source, customers), scales)
    else:
        verdicts = read_jsonl(content.splitlines(), scales)
    if shift:
        verdicts = shifted(verdicts, target.clock.now_ms())
    accepted, refused = publish(target, verdicts)
    report(accepted, refused, as_json=as_json)


def read_input(file: str) -> tuple[str, bytes]:
    """The input's name, which goes into the ids of a trace, and its bytes."""
    if file == "-":
        return STDIN, sys.stdin.buffer.read()
    path = Path(file)
    try:
        return path.name, path.read_bytes()
    except OSError as fault:
        raise UsageFault(f"{file} can't be read: {fault.strerror}") from fault


def chosen_format(format_: str | None, name: str) -> str:
    """The format asked for, or the one that the file's name says."""
    if format_ is None:
        return "csv" if name.lower().endswith(".csv") else "jsonl"
    if format_ not in FORMATS:
        raise UsageFault(f"--format is {' or '.join(FORMATS)}, not {format_!r}")
    return format_


def publish(target: Target, verdicts: Iterable[Accepted | RefusedLine]) -> tuple[int, list[RefusedLine]]:
    """Publishes what is accepted; returns when the broker has all of it."""
    accepted, refused = 0, []
    with ExitStack() as stack:
        publishers = Publishers(target, stack)
        for verdict in verdicts:
            fault = verdict if isinstance(verdict, RefusedLine) else publishers.take(verdict)
            if fault is None:
                accepted += 1
            else:
                refused.append(fault)
        publishers.flush()
    return accepted, refused


class Publishers:
    """One publisher per source: a publisher speaks for one service."""

    def __init__(self, target: Target, stack: ExitStack) -> None:
        settings = target.settings
        settings.require("kafka_bootstrap")
        self._settings = PublisherSettings(settings.kafka_bootstrap, settings.kafka, settings.topic_prefix)
        # Under the simulated clock a record carries its arrival; else the broker dates it and nothing we say matters.
        self._record_time_ms = target.clock.now_ms if target.clock.simulated else None
        self._by_source: dict[str, Publisher] = {}
        self._stack = stack

    def take(self, line: Accepted) -> RefusedLine | None:
        """Queues one event; what a publisher refuses is a refused line."""
        event = line.event
        publisher = self._by_source.get(event.source)
        if publisher is None:
            publisher = self._stack.enter_context(Publisher(event.source, self._settings, record_time_ms=self._record_time_ms))
            self._by_source[event.source] = publisher
        try:
            self._queue(publisher, event)
        except InvalidUsage as fault:
            return RefusedLine(line.line, str(fault.refusal.reason), fault.refusal.detail)
        return None

    def _queue(self, publisher: Publisher, event: UsageEvent) -> None:
        try:
            publish_event(publisher, event)
        except Backlogged:
            wait_for(publisher)
            publish_event(publisher, event)

    def flush(self) -> None:
        """Returns when the broker has everything."""
        for publisher in self._by_source.values():
            wait_for(publisher)


def wait_for(publisher: Publisher) -> None:
    """Returns when the broker has everything, and says meanwhile what it waits for.

    DeliveryFailed, with the ids, when the client gives up on something: after five minutes without a broker, unless it is set otherwise.
    """
    while True:
        try:
            publisher.flush(TOLD_EVERY_SECONDS)
        except Backlogged as waiting:
            say(f"waiting for Kafka: {waiting}")
        else:
            return


def publish_event(publisher: Publisher, event: UsageEvent) -> None:
    """Hands an event that is already in smallest units to its publisher."""
    publisher.publish_quantity(
        id=event.id,
        customer=event.customer,
        meter=event.meter,
        quantity=event.quantity,
        time=event.event_time_ms,
        reason=event.reason,
        corrects=event.corrects,
        dimensions=event.dimensions,
    )


def report(accepted: int, refused: list[RefusedLine], *, as_json: bool) -> None:
    """What was taken and what was not, with the reason per line; exit 1 when anything was refused."""
    if as_json:
        emit_json({"accepted": accepted, "refused": [line.as_row() for line in refused]})
    elif refused:
        emit_rows([line.as_row() for line in refused], ("line", "reason", "detail"), as_json=False)
    say(f"{accepted} accepted, {len(refused)} refused.")
    if refused:
        raise AnswerIsNo(f"{len(refused)} of {accepted + len(refused)} were refused")
