"""`trueup doctor`: everything this deployment rests on, one line each, with what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from urllib.parse import urlsplit

import requests
import stripe
import typer
from confluent_kafka import KafkaException

from services.stripe_sink.adapters.stripe_meters import StripeMeters
from trueup.cli import topics
from trueup.cli.catalogue_topic import newest_catalogue
from trueup.cli.faults import AnswerIsNo, UsageFault, reason
from trueup.cli.options import AsJson
from trueup.cli.output import emit_rows, say
from trueup.cli.stripe_meters import check_meters, client_for
from trueup.cli.target import Target, find_target, ledger
from trueup.contracts.catalogue import Catalogue
from trueup.contracts.errors import PipelineError, Transient
from trueup.contracts.meters import Meter
from trueup.ledger.store import clock, deployment
from trueup.ledger.store.connection import Unreachable
from trueup.runtime.kafka import REQUEST_TIMEOUT_SECONDS, admin
from trueup.runtime.settings import SettingsError

COLUMNS = ("what", "state", "says", "advice")
SKEW_SECONDS = 60
# Stripe's setting "Configure a grace period for invoices" goes no further.
LONGEST_GRACE_SECONDS = 72 * 3600
ADVISED_GRACE_SECONDS = 24 * 3600
WEBHOOK_PATH = "/webhooks/stripe"
WEBHOOKS_NEEDED = (
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "invoice.created",
    "invoice.finalized",
    "invoice.voided",
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook endpoint as Stripe has it; `enabled_events` may be just `*`."""

    url: str
    status: str
    enabled_events: tuple[str, ...]


class State(StrEnum):
    """`advice` is no fault yet."""

    OK = "ok"
    ADVICE = "advice"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and what to do when it is not well."""

    what: str
    state: State
    says: str
    advice: str = ""


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("doctor")(doctor)


def doctor(as_json: AsJson = False) -> None:
    """Look at everything this deployment rests on.

    Configuration, connections, topics, clocks, Stripe's account and meters, webhooks, the time before an invoice is final. Exit 1
    when anything is wrong.
    """
    target = find_target()
    found = list(findings(target))
    emit_rows([asdict(finding) for finding in found], COLUMNS, as_json=as_json)
    wrong = [finding for finding in found if finding.state is State.WRONG]
    if wrong:
        raise AnswerIsNo(f"{len(wrong)} of {len(found)} are wrong")
    say("Nothing is wrong.")


def findings(target: Target) -> Iterator[Finding]:
    """Everything that is looked at; one thing that fails stops no other."""
    for name, value in target.settings.redacted().items():
        yield Finding(f"setting {name}", State.OK, "" if value is None else str(value))
    for what, look in (
        ("kafka", lambda: look_at_kafka(target)),
        ("topics", lambda: look_at_topics(target)),
        ("ledger", lambda: look_at_ledger(target)),
        ("stripe", lambda: look_at_stripe(target)),
        ("webhooks", lambda: look_at_webhooks(target)),
        ("catalogue", lambda: look_at_catalogue(target)),
    ):
        yield from guarded(what, look)


def guarded(what: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What cannot be looked at is a finding too."""
    try:
        yield from look()
    except KafkaException as failure:
        yield Finding(
            what, State.WRONG, f"Kafka does not answer: {reason(failure)}", "TRUEUP_KAFKA_BOOTSTRAP, TRUEUP_KAFKA__…, the network"
        )
    except Unreachable as failure:
        yield Finding(what, State.WRONG, f"Postgres does not answer: {str(failure).strip()}", "TRUEUP_POSTGRES_DSN, the network")
    except (stripe.StripeError, requests.RequestException) as failure:
        yield Finding(what, State.WRONG, f"Stripe refused or does not answer: {failure}", "TRUEUP_STRIPE_API_KEY and what it may read")
    except Transient as failure:
        yield Finding(what, State.WRONG, str(failure), "TRUEUP_STRIPE_API_KEY and what it may read, the network")
    except (UsageFault, SettingsError, PipelineError) as failure:
        yield Finding(what, State.WRONG, str(failure))


def look_at_kafka(target: Target) -> Iterator[Finding]:
    """Whether the brokers answer at all, and how many they are."""
    brokers = admin(target.settings).list_topics(timeout=REQUEST_TIMEOUT_SECONDS).brokers
    yield Finding("kafka", State.OK, f"reached, {len(brokers)} {'broker' if len(brokers) == 1 else 'brokers'}")


def look_at_topics(target: Target) -> Iterator[Finding]:
    """Declared against found."""
    declared = topics.declared_for(target, -1, None)
    differences = list(topics.differences(declared, topics.found_topics(admin(target.settings), [topic.name for topic in declared])))
    for row in differences:
        says = f"{row.change}: {row.setting} is {row.found or 'not there'}, declared is {row.declared}"
        advice = "your decision: nothing rewrites it" if row.change == "drift" else "`trueup topics apply`"
        yield Finding(f"topic {row.topic}", State.WRONG, says, advice)
    if not differences:
        yield Finding("topics", State.OK, f"{len(declared)} as declared")


def look_at_ledger(target: Target) -> Iterator[Finding]:
    """Reached, of this code's schema, and living by the same clock."""
    with ledger(target) as connection:
        skew_seconds = (target.clock.now_ms() - clock.now_ms(connection)) / 1_000
        held = deployment.held(connection)
    yield Finding("ledger", State.OK, "reached, of this version's schema")
    yield skew("clock beside Postgres", skew_seconds)
    if held is None:
        yield Finding("ledger's Stripe account", State.ADVICE, "none recorded yet", "`trueup stripe arm` records the one it compares with")
    else:
        mode = "live" if held.livemode else "test"
        yield Finding("ledger's Stripe account", State.OK, f"{held.stripe_account}, {mode} mode")


def skew(what: str, seconds: float) -> Finding:
    """Deadlines are judged by our clock; five minutes ahead, Stripe refuses usage."""
    if abs(seconds) > SKEW_SECONDS:
        return Finding(what, State.WRONG, f"ours is {seconds:+.0f} s off", "mend the time service before dispatch goes on")
    return Finding(what, State.OK, f"{seconds:+.1f} s")


def look_at_stripe(target: Target) -> Iterator[Finding]:
    """The key's account and mode against the ledger's, and Stripe's date."""
    client = client_for(target)
    found = StripeMeters(target.settings.stripe_api_key, target.settings.stripe_url).account()
    mode = "live" if found.livemode else "test"
    held = recorded_account(target)
    if held is not None and held != found:
        advice = "one ledger serves one account in one mode: use its key, or another ledger"
        yield Finding("Stripe account", State.WRONG, f"the key is of {found.stripe_account}, {mode} mode", advice)
    else:
        yield Finding("Stripe account", State.OK, f"{found.stripe_account}, {mode} mode")
    answer = client.v1.billing.meters.list({"limit": 1}).last_response
    date = answer.headers.get("Date") if answer is not None else None
    if target.clock.simulated:
        yield Finding("clock beside Stripe", State.OK, "not compared: the clock is simulated")
    elif date:
        yield skew("clock beside Stripe", target.clock.now_ms() / 1_000 - parsedate_to_datetime(date).timestamp())


def recorded_account(target: Target) -> deployment.Deployment | None:
    """The account that the ledger serves; None also when it does not answer, which its own line says."""
    try:
        with ledger(target) as connection:
            return deployment.held(connection)
    except (Unreachable, PipelineError):
        return None


def look_at_webhooks(target: Target) -> Iterator[Finding]:
    """All endpoints of the account, judged."""
    found = client_for(target).v1.webhook_endpoints.list({"limit": 100}).auto_paging_iter()
    yield from webhooks_found([Endpoint(one.url, one.status, tuple(one.enabled_events)) for one in found])


def webhooks_found(every: Sequence[Endpoint]) -> Iterator[Finding]:
    """Whether an endpoint is enabled, ours by its path, and hears of periods and invoices."""
    what = "webhooks"
    ours = [one for one in every if urlsplit(one.url).path.rstrip("/").endswith(WEBHOOK_PATH)]
    if every and not ours:
        # A proxy may show another path to the world, so this proves nothing.
        advice = f"create one for https://…{WEBHOOK_PATH}, unless a proxy leads one of them there"
        yield Finding(
            "webhooks' paths", State.ADVICE, f"none of {len(every)} endpoints ends in {WEBHOOK_PATH}; each is taken for ours", advice
        )
        ours = list(every)
    for one in ours:
        if one.status != "enabled":
            yield Finding(f"webhook {one.url}", State.ADVICE, f"is {one.status}", "enable it in Stripe, or delete it")
    enabled = [one for one in ours if one.status == "enabled"]
    heard = {event for one in enabled for event in one.enabled_events}
    missing = [event for event in WEBHOOKS_NEEDED if "*" not in heard and event not in heard]
    if not enabled:
        advice = f"create one for https://…{WEBHOOK_PATH}; until then the reconciler polls, and learns of everything later"
        yield Finding(what, State.WRONG, "no endpoint is enabled", advice)
    elif missing:
        yield Finding(what, State.WRONG, f"no endpoint hears {', '.join(missing)}", "add these events to it in Stripe")
    else:
        yield Finding(what, State.OK, f"{len(enabled)} enabled, hear what is needed")


def look_at_catalogue(target: Target) -> Iterator[Finding]:
    """The meters at Stripe, and whether usage can be confirmed before its invoice is final."""
    catalogue = newest_catalogue(target)
    if catalogue is None:
        yield Finding("catalogue", State.WRONG, "no version was ever applied", "`trueup catalogue apply FILE`")
        return
    for check in check_meters(client_for(target), catalogue):
        wrong = check.state != "ok"
        advice = "`trueup catalogue apply FILE --create-in-stripe`" if check.state == "missing" else "a meter of Stripe's never changes"
        what = f"meter {check.meter} as {check.stripe_event_name}"
        yield Finding(what, State.WRONG if wrong else State.OK, check.detail, advice if wrong else "")
    for name, meter in catalogue.meters.items():
        yield grace(name, meter, catalogue)
    yield grace_at_stripe(target, catalogue.policy.finalization_grace_seconds)


def grace(name: str, meter: Meter, catalogue: Catalogue) -> Finding:
    """The last usage in time may arrive a billing window late, wait a roll-up to be cut, and take Stripe its time to count."""
    settle_seconds, grace_seconds = catalogue.policy.summary_settle_seconds, catalogue.policy.finalization_grace_seconds
    needed = meter.billing_window_seconds + meter.roll_up_seconds + settle_seconds + meter.close_margin_seconds
    what = f"finalization grace for {name}"
    says = f"{minutes(grace_seconds)} of grace for {minutes(needed)} of billing window, roll-up, settling and margin"
    if grace_seconds > LONGEST_GRACE_SECONDS:
        return Finding(what, State.WRONG, says, "Stripe allows 72 h at most")
    if needed >= grace_seconds:
        return Finding(what, State.WRONG, says, "a longer grace in Stripe and in the catalogue, or a shorter billing window")
    if grace_seconds < ADVISED_GRACE_SECONDS:
        return Finding(what, State.ADVICE, says, "24 h leave a night to mend something before an invoice is final")
    return Finding(what, State.OK, says)


def grace_at_stripe(target: Target, declared_seconds: int) -> Finding:
    """What Stripe really leaves, told by its newest invoices: the setting itself cannot be read."""
    invoices = client_for(target).v1.invoices
    drafts = [
        draft.automatically_finalizes_at - draft.created
        for draft in invoices.list({"status": "draft", "limit": 100}).data
        if draft.automatically_finalizes_at is not None
    ]
    finalized = [
        invoice.status_transitions.finalized_at - invoice.created
        for invoice in invoices.list({"limit": 100}).data
        # Others are final at once, whatever the setting is.
        if invoice.billing_reason == "subscription_cycle" and invoice.status_transitions.finalized_at is not None
    ]
    return grace_seen(drafts, finalized, declared_seconds)


def grace_seen(drafts: Sequence[int], finalized: Sequence[int], declared_seconds: int) -> Finding:
    """Seconds that drafts have from their creation, and that finalized invoices had, beside what the catalogue says."""
    what, declared = "finalization grace at Stripe", f"the catalogue says {minutes(declared_seconds)}"
    mend = "set the same in Stripe (billing settings, invoices) and in the catalogue's policy"
    if drafts:
        says = f"{minutes(min(drafts))} at the shortest of {len(drafts)} draft invoices; {declared}"
        return Finding(what, State.WRONG, says, mend) if min(drafts) < declared_seconds else Finding(what, State.OK, says)
    if not finalized:
        return Finding(what, State.ADVICE, f"no invoice shows it yet; {declared}", f"look it up before the first one: {mend}")
    says = f"no draft shows it now; the last {len(finalized)} invoices had {minutes(min(finalized))} at the shortest; {declared}"
    if min(finalized) < declared_seconds:
        return Finding(what, State.ADVICE, says, f"unless somebody finalized one by hand: {mend}")
    return Finding(what, State.OK, says)


def minutes(seconds: int) -> str:
    """Hours and minutes."""
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
