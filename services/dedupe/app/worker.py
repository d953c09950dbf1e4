"""The process: a Faust worker as host, with the stream in a thread of its own."""

from __future__ import annotations

import asyncio
import contextvars
import faulthandler
import gc
import logging
import os
import threading
from collections.abc import Callable

import faust
from faust.app.base import BootStrategy
from faust.web import Request, Response, View
from mode import Service

from services.dedupe import metrics
from services.dedupe.adapters.books import KafkaBooks
from services.dedupe.adapters.catalogue import KafkaCatalogue
from services.dedupe.adapters.ends import KafkaEnds
from services.dedupe.adapters.source import KafkaSource
from services.dedupe.adapters.topics import check_topics
from services.dedupe.adapters.transaction import KafkaTransaction
from services.dedupe.app.standing import Board, activity
from services.dedupe.app.stream import Ports, Stopping, Stream
from services.dedupe.config import Settings
from services.dedupe.ports import TransactionPort
from trueup.contracts.codec import Decoder
from trueup.contracts.errors import Broken
from trueup.contracts.topics import TopicNames
from trueup.runtime import log
from trueup.runtime.clock import clock_from
from trueup.runtime.loop import CRASHED, HALTED, MISCONFIGURED, Stop, run
from trueup.runtime.settings import SettingsError
from trueup.runtime.web import Pages

LOOK_SECONDS = 5.0

MakeTransaction = Callable[[Settings, TopicNames], TransactionPort]


class _WebOnly(BootStrategy):
    """Faust's own Kafka clients stay unborn: its per-event path and its transactions are what this room does without."""

    enable_kafka = False


class _Host(faust.App):
    """Faust without tables, and so without a data folder."""

    BootStrategy = _WebOnly
    # A worker without agents crashes unless it is told that it only produces.
    producer_only = True

    def _create_directories(self) -> None:
        """There is nothing to keep: the durable copy of the memory is the progress topic."""


class _StreamService(Service):
    """Starts and stops the stream's thread with the worker."""

    def __init__(self, body: Callable[[], None], stop: Stop) -> None:
        super().__init__()
        # The thread's log lines carry the room's name too.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(body,), name="stream", daemon=True)
        self._stop_asked = stop

    async def on_start(self) -> None:
        """Begins to read."""
        self._thread.start()

    async def on_stop(self) -> None:
        """Ends after the batch in hand."""
        self._stop_asked.ask()
        await asyncio.to_thread(self._thread.join)


def host(settings: Settings, pages: Pages, service: Service, look_after: Callable[[], None]) -> faust.App:
    """The Faust app: a web server for the room's pages, the stream, and a look at it every few seconds."""
    app = _Host(
        "trueup.dedupe",
        web_bind=settings.http_host,
        web_host=settings.http_host,
        web_port=settings.http_port,
        web_tables_enabled=False,
        web_router_enabled=False,
        web_stats_enabled=False,
        web_graph_enabled=False,
        web_metrics_enabled=False,
        # `log.configure` has the root logger already.
        worker_redirect_stdouts=False,
        logging_config=None,
    )
    for path in pages.paths:
        _serve(app, path, pages)

    async def start_stream() -> None:
        await app.add_runtime_dependency(service)

    async def watch_stream() -> None:
        while not app.should_stop:
            await app.sleep(LOOK_SECONDS)
            look_after()

    app.task(start_stream)
    app.task(watch_stream)
    return app


def _serve(app: faust.App, path: str, pages: Pages) -> None:
    async def get(view: View, request: Request) -> Response:
        # Some answers ask the broker first; the event loop goes on meanwhile.
        answer = await asyncio.to_thread(pages.answer, path)
        return view.bytes(answer.body, content_type=answer.content_type.partition(";")[0], status=answer.status)

    app.page(path, name=path.strip("/"))(get)


def serve(settings: Settings, make_transaction: MakeTransaction = KafkaTransaction) -> None:
    """Runs the room until it is asked to stop. Tests that stop it at a point of a transaction hand in their own port for that."""
    settings.require("kafka_bootstrap", "room", "http_port")
    log.configure(settings.room)
    names = TopicNames(settings.topic_prefix)
    registry = metrics.registry(names.usage_events, settings.partitions, settings.room)
    board, stop = Board(), Stop()
    ends = KafkaEnds(settings, names.usage_events)
    pages = Pages(registry, board.live, board.ready, activity(board, ends))

    def stream() -> None:
        clock = clock_from(settings.clock)
        check_topics(settings, names, clock.simulated)
        own_ends = KafkaEnds(settings, names.usage_events)
        books = KafkaBooks(settings, names.progress, own_ends)
        catalogue = KafkaCatalogue(settings, own_ends.reader)
        source = KafkaSource(settings, names.usage_events, clock.simulated)
        ports = Ports(source, make_transaction(settings, names), books, catalogue, own_ends)
        decoder = Decoder(settings.confluent_schema_ids)
        reading = Stream(ports, decoder, names.usage_events, settings.batch_records, registry, board, stop, clock, settings.quiet_seconds)
        reading.join()
        run(reading.step, stop=stop)
        # After a failure the process ends with everything open: a member whose assignment failed was seen to close for ever.
        for client in (source, catalogue, books, own_ends):
            client.close()

    service = _StreamService(lambda: _guarded(settings.room, stream, stop), stop)
    app = host(settings, pages, service, lambda: _end_if_stuck(settings.room, board))
    worker = faust.Worker(app, loglevel="INFO", quiet=True, override_logging=False, redirect_stdouts=False)
    # Faust would write terminal codes to stdout, and a line for each part that starts and stops.
    worker.spinner = None
    for chatty in ("faust", "mode"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # A batch makes tens of thousands of tuples that die with it; looking for cycles among them every 700 costs a fifth of its time.
    gc.set_threshold(200_000)
    worker.execute_from_commandline()


def _end_if_stuck(room: str, board: Board) -> None:
    """Ends a process whose stream hangs: after a broker was killed, `send_offsets_to_transaction` was seen never to return."""
    health = board.live()
    if not health.ok:
        log.get(room).critical(f"the stream hangs: {health.why}")
        # Where it hangs is known now and never again.
        faulthandler.dump_traceback()
        os._exit(CRASHED)


def _guarded(room: str, body: Callable[[], None], stop: Stop) -> None:
    """Faust sees nothing of an exception in a thread, so a failure ends the process from here."""
    lines = log.get(room)
    try:
        body()
    except Stopping:
        lines.info("stopped while waiting")
    except SettingsError as fault:
        lines.critical(str(fault))
        os._exit(MISCONFIGURED)
    except Broken as fault:
        # Started again, it would only say the same: it stays down until a person has looked.
        lines.critical(str(fault), halted=True)
        os._exit(HALTED)
    except BaseException as error:
        lines.exception(f"{type(error).__name__}: {error}")
        os._exit(CRASHED)
    if not stop:
        lines.critical("the stream ended without being asked to")
        os._exit(CRASHED)
