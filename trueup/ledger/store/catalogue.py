"""Catalogue versions in the ledger, as they were read from their topic: what every decision rests on, kept beside it."""

from __future__ import annotations

import hashlib

import psycopg

from trueup.contracts.catalogue import FROM_THE_BEGINNING_MS, CatalogueVersion, Meter, VersionInForce
from trueup.contracts.errors import Broken
from trueup.ledger.store import queries
from trueup.ledger.store.instants import instant


def record_version(connection: psycopg.Connection, version: CatalogueVersion, appended_at_ms: int, in_force: VersionInForce) -> bool:
    """Record a version; False when it stands there already. Another content under its number is a broken invariant."""
    statements = queries.load("catalogue")
    digest = hashlib.sha256(version.content_toml.encode()).hexdigest()
    policy = in_force.catalogue.policy
    starts_ms = in_force.in_force_from_ms
    with connection.transaction():
        added = connection.execute(
            statements["add_version"],
            {
                "version": version.version,
                "content_toml": version.content_toml,
                "content_sha256": digest,
                "appended_at": instant(appended_at_ms),
                "in_force_from": None if starts_ms == FROM_THE_BEGINNING_MS else instant(starts_ms),
                "finalization_grace_seconds": policy.finalization_grace_seconds,
                "summary_settle_seconds": policy.summary_settle_seconds,
                "bill_from": None if policy.bill_from_ms is None else instant(policy.bill_from_ms),
            },
        ).rowcount
        if not added:
            _refuse_other_content(connection, version.version, digest)
            return False
        for meter in in_force.catalogue.meters.values():
            _add_meter(connection, version.version, meter)
    return True


def newest_version(connection: psycopg.Connection) -> int:
    """The newest version that the ledger knows, 0 without any."""
    row = connection.execute(queries.load("catalogue")["newest"]).fetchone()
    return 0 if row is None else int(row[0])


def _refuse_other_content(connection: psycopg.Connection, version: int, digest: str) -> None:
    held = connection.execute(queries.load("catalogue")["held"], {"version": version}).fetchone()
    if held is None or held[0] != digest:
        raise Broken(f"catalogue version {version} stands in the ledger with another content than on its topic")


def _add_meter(connection: psycopg.Connection, version: int, meter: Meter) -> None:
    statements = queries.load("catalogue")
    connection.execute(
        statements["add_meter"],
        {
            "version": version,
            "meter": meter.name,
            "unit": meter.unit,
            "scale": meter.scale,
            "aggregation": meter.aggregation.value,
            "billing_window_seconds": meter.billing_window_seconds,
            "horizon_seconds": meter.horizon_seconds,
            "close_margin_seconds": meter.close_margin_seconds,
            "roll_up_seconds": meter.roll_up_seconds,
        },
    )
    # '' stands for "whatever the plan": a meter that is not plan-scoped.
    names = {"": meter.stripe_event_name} if isinstance(meter.stripe_event_name, str) else meter.stripe_event_name
    for plan, name in names.items():
        connection.execute(statements["add_event_name"], {"version": version, "meter": meter.name, "plan": plan, "stripe_event_name": name})
