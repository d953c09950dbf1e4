"""`trueup stripe`: whether usage goes to Stripe; and `trueup stripe-emulator`, a Stripe for one machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from services.stripe_sink.adapters.stripe_meters import StripeMeters
from trueup.cli.consent import ask, require_reason, who
from trueup.cli.faults import AnswerIsNo, UsageFault
from trueup.cli.options import AsJson, Reason, Yes
from trueup.cli.output import emit_record, emit_rows, say
from trueup.cli.target import Target, find_target, ledger, require_known
from trueup.ledger.store import customers as mappings
from trueup.ledger.store.connection import Connection
from trueup.ledger.store.dispatch import arming

OfCustomer = Annotated[str | None, typer.Option("--customer", help="Only this customer; the whole deployment when left out.")]
DIFFERENCE_COLUMNS = ("stripe_customer", "stripe_event_name", "acknowledged", "stripe", "unknown_intents", "blocks")
Answered = Annotated[str | None, typer.Option("--customer", help="Answer for this customer; what waits is shown of all.")]
OUTBOX_COLUMNS = ("state", "items", "oldest", "deadline", "left")


def register(app: typer.Typer) -> None:
    """Adds the verbs."""
    nouns = typer.Typer(help="Dispatch to Stripe, armed by a recorded act.", no_args_is_help=True)
    nouns.command("arm")(arm)
    nouns.command("disarm")(disarm)
    nouns.command("status")(status)
    app.add_typer(nouns, name="stripe")
    app.command("stripe-emulator")(stripe_emulator)


def reader_for(target: Target) -> StripeMeters:
    """Stripe as arming reads it."""
    if not target.settings.stripe_api_key:
        raise UsageFault("TRUEUP_STRIPE_API_KEY is not set (or TRUEUP_STRIPE_API_KEY_FILE)")
    return StripeMeters(target.settings.stripe_api_key, target.settings.stripe_url)


def arm(
    reason: Reason,
    customer: OfCustomer = None,
    accept_differences: Annotated[
        bool, typer.Option("--accept-differences", help="Arm although Stripe has, or may have, more than was sent on some lane.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Compare each lane with Stripe, then send. Exit 1 when a lane stands in the way."""
    said = require_reason(reason)
    target = find_target()
    ask(f"Send {owner(customer)} usage to Stripe from now on?", yes=yes)
    with ledger(target) as connection:
        _require_mapped(connection, customer)
        report = arming.arm(connection, reader_for(target), reason=said, by=who(), customer=customer, accept_differences=accept_differences)
        found = arming.status(connection)
    rows = [asdict(difference) for difference in report.differences]
    if as_json:
        armed = report.armed and found.armed
        emit_record({"armed": armed, "why": report.why, "lanes_compared": report.lanes_compared, "differences": rows}, as_json=True)
    elif rows:
        emit_rows(rows, DIFFERENCE_COLUMNS, as_json=False)
    say(f"{report.lanes_compared} lanes compared, {len(rows)} differ.")
    if not report.armed:
        raise AnswerIsNo(f"not armed: {report.why}")
    if not found.armed:
        raise AnswerIsNo(f"{customer} is no longer paused, but nothing is sent: {found.why}")
    say("Armed.")


def _require_mapped(connection: Connection, customer: str | None) -> None:
    if customer is not None and mappings.resolve(connection, [customer]).get(customer) is None:
        raise UsageFault(f"no customer {customer!r} is mapped: `trueup customers list`")


def owner(customer: str | None) -> str:
    """Whose usage, in a question."""
    return "all customers'" if customer is None else f"{customer}'s"


def disarm(reason: Reason, customer: OfCustomer = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Stop sending. Calls under way are finished and recorded, usage waits."""
    said = require_reason(reason)
    target = find_target()
    ask(f"Stop sending {owner(customer)} usage to Stripe?", yes=yes)
    with ledger(target) as connection:
        _require_mapped(connection, customer)
        arming.disarm(connection, reason=said, by=who(), customer=customer)
    say("Disarmed." if customer is None else f"{customer} is paused.")
    emit_record({"armed": False, "customer": customer, "reason": said}, as_json=as_json)


def status(customer: Answered = None, as_json: AsJson = False) -> None:
    """Show whether usage goes out and what waits. With the time left to the nearest deadline; exit 1 when it does not go out."""
    target = find_target()
    with ledger(target) as connection:
        require_known(connection, customer)
        found = arming.status(connection)
    armed = found.armed and (customer is None or customer not in found.paused_customers)
    why = found.why if armed or not found.armed else f"{customer} is paused"
    record = status_record(found, target.clock.now_ms(), armed=armed, why=why)
    if as_json:
        emit_record(record, as_json=True)
    else:
        emit_record({name: value for name, value in record.items() if name != "outbox"}, as_json=False)
        emit_rows(record["outbox"], OUTBOX_COLUMNS, as_json=False)
    if not armed:
        raise AnswerIsNo(why)


def status_record(found: arming.DispatchStatus, now_ms: int, *, armed: bool, why: str) -> dict[str, Any]:
    """The status as one object; instants readable, the countdown beside its date."""
    return {
        "armed": armed,
        "why": why,
        "stripe_account": found.deployment.stripe_account if found.deployment else None,
        "livemode": found.deployment.livemode if found.deployment else None,
        "database_identity": found.database_identity,
        "paused_customers": list(found.paused_customers),
        "halted_lanes": [{**asdict(lane), "halted_at": moment(lane.halted_at_ms)} for lane in found.halted_lanes],
        "outbox": outbox_rows(found.outbox, now_ms),
        "nearest_deadline": moment(found.nearest_deadline_ms),
        "time_left": countdown(found.nearest_deadline_ms, now_ms),
    }


def outbox_rows(outbox: Sequence[arming.OutboxState], now_ms: int) -> list[dict[str, Any]]:
    """What waits, a state a row."""
    return [
        {
            "state": waiting.state,
            "items": waiting.items,
            "oldest": moment(waiting.oldest_ms),
            "deadline": moment(waiting.deadline_ms),
            "left": countdown(waiting.deadline_ms, now_ms),
        }
        for waiting in outbox
    ]


def moment(instant_ms: int | None) -> datetime | None:
    """An instant to be shown."""
    return None if instant_ms is None else datetime.fromtimestamp(instant_ms / 1000, UTC)


def countdown(deadline_ms: int | None, now_ms: int) -> str | None:
    """The time left, in days, hours, minutes and seconds."""
    if deadline_ms is None:
        return None
    left = timedelta(seconds=abs(deadline_ms - now_ms) // 1000)
    return f"{left}" if deadline_ms >= now_ms else f"passed {left} ago"


def stripe_emulator(
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="The loopback port to listen on.")] = 12111,
    clock: Annotated[str, typer.Option("--clock", help="system, or simulated:FILE")] = "system",
    keep: Annotated[Path, typer.Option("--keep", help="Where it keeps its journal.")] = Path(".trueup/stripe-emulator"),
    as_json: AsJson = False,
) -> None:
    """Run a stateful Stripe on this machine. Any Stripe SDK can speak to it, until it is stopped."""
    if clock != "system" and not clock.startswith("simulated:"):
        raise UsageFault(f"--clock is system, or simulated:FILE, not {clock!r}")
    emit_record({"stripe_url": f"http://127.0.0.1:{port}"}, as_json=as_json)
    sys.stdout.flush()
    say("Faults: POST /_emulator/faults. Its own books: GET /_emulator/books. Stop it with Ctrl-C.")
    module = "devstack.stripe_emulator"
    os.execv(sys.executable, [sys.executable, "-m", module, "--port", str(port), "--clock", clock, "--data-dir", str(keep)])
