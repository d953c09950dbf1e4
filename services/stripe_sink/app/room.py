"""The sink as one process: capture in the main thread, dispatch and the watchdog in theirs, one small web for all."""

from __future__ import annotations

import gc

from services.stripe_sink.adapters.stripe_meters import StripeMeters
from services.stripe_sink.app.capture import Capture
from services.stripe_sink.app.dispatch import Dispatch, DispatchLimits
from services.stripe_sink.app.restored import RestoredGuard
from services.stripe_sink.app.watchdog import Watchdog
from services.stripe_sink.config import Settings
from services.stripe_sink.core.dispatch_outcome import OutcomeClass
from services.stripe_sink.metrics import capture as capture_metrics
from services.stripe_sink.metrics import dispatch as dispatch_metrics
from trueup.runtime import loop
from trueup.runtime.loop import Stop
from trueup.runtime.metrics import Registry
from trueup.runtime.web import Activity, Health, RoomServer


def run(settings: Settings, stop: Stop) -> None:
    """Run until asked to stop. Broken from capture ends the process: nothing is captured until a person has looked."""
    calm_collector()
    registry = Registry(*capture_metrics.ALL, *dispatch_metrics.ALL, room=settings.room)
    for outcome in capture_metrics.OUTCOMES:
        registry.increase(capture_metrics.EVENTS, 0, room=capture_metrics.ROOM, outcome=outcome)
    for answered in OutcomeClass:
        registry.increase(dispatch_metrics.STRIPE_CALLS, 0, outcome=answered.value)
    guard = RestoredGuard(settings)
    capture = Capture(settings, registry, guard)
    meters = StripeMeters(settings.stripe_api_key, settings.stripe_url)
    limits = DispatchLimits(senders=settings.dispatch_senders)
    dispatch = Dispatch(settings.postgres_dsn, settings.room, meters, registry, limits, before_use=guard)
    watchdog = Watchdog(settings.postgres_dsn, settings.room, registry)
    server = RoomServer(
        settings.http_port,
        registry,
        live=capture.live,
        ready=lambda: both(capture.ready(), dispatch.health()),
        activity=lambda: together(capture.activity(), dispatch.activity()),
        host=settings.http_host,
    )
    server.start()
    capture.start()
    watchdog.start()
    dispatch.start()
    try:
        loop.run(capture.step, stop=stop)
    finally:
        dispatch.stop()
        watchdog.stop()
        capture.close()
        server.stop()


def calm_collector() -> None:
    """A batch is a hundred thousand small objects without cycles; by default all of them are searched for cycles dozens of times."""
    gc.set_threshold(200_000, 20, 20)


def both(capture: Health, dispatch: Health) -> Health:
    """Well when both halves are; why says which is not."""
    return Health(capture.ok and dispatch.ok, f"capture: {capture.why}; dispatch: {dispatch.why}")


def together(capture: Activity, dispatch: Activity) -> Activity:
    """Idle when both halves are; the work of both only grows, so does its sum."""
    dues = [due for due in (capture.next_due_ms, dispatch.next_due_ms) if due is not None]
    return Activity(
        idle=capture.idle and dispatch.idle,
        work=capture.work + dispatch.work,
        next_due_ms=min(dues, default=None),
        owns=(*capture.owns, *dispatch.owns),
        why=f"capture: {capture.why}; dispatch: {dispatch.why}",
    )
