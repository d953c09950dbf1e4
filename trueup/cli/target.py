"""Which deployment a verb speaks to: the one the environment names, else the street that runs here."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devstack.background import state_file
from trueup.cli.faults import AnswerIsNo, UsageFault
from trueup.cli.output import say
from trueup.ledger.migrate import require_current
from trueup.ledger.store import customers
from trueup.ledger.store.connection import Connection, connect
from trueup.runtime.clock import Clock, clock_from
from trueup.runtime.settings import StreetSettings, from_environment

NAMING_VARIABLES = ("TRUEUP_CONFIG", "TRUEUP_KAFKA_BOOTSTRAP", "TRUEUP_POSTGRES_DSN", "TRUEUP_POSTGRES_DSN_FILE")


_OF_A_DEPLOYMENT = frozenset({"stripe_url", "stripe_api_key", "partitions", "topic_prefix", "confluent_schema_ids", "clock"})


class NothingNamed(UsageFault):
    """No deployment runs here and none is named."""


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment: its addresses, and where its rooms answer if that is known."""

    settings: StreetSettings
    room_urls: Mapping[str, str] = field(default_factory=dict)
    clock_url: str | None = None
    settles_sooner: bool = False  # as a street with the machine's clock does, whatever its catalogue says

    @property
    def clock(self) -> Clock:
        """The clock that this deployment lives by."""
        return clock_from(self.settings.clock)


def find_target() -> Target:
    """The deployment to speak to; the environment wins as a whole, so that two deployments are never mixed."""
    if any(name in os.environ for name in NAMING_VARIABLES):
        return Target(quiet(environment_settings()))
    state = state_file()
    if not state.is_file():
        raise NothingNamed("no street runs here and no TRUEUP_* variable names a deployment: `trueup up`, or see deploy/env.example")
    ignored = sorted(name for name in os.environ if _option(name) in _OF_A_DEPLOYMENT)
    if ignored:
        say(f"the street that runs here is asked, by its own settings: {', '.join(ignored)} is used with TRUEUP_KAFKA_BOOTSTRAP only")
    return target_of(json.loads(state.read_text(encoding="utf-8")))


def _option(variable: str) -> str:
    """The setting that a variable of ours names; nothing for anybody else's."""
    return variable.removeprefix("TRUEUP_").removesuffix("_FILE").lower() if variable.startswith("TRUEUP_") else ""


def quiet(settings: StreetSettings) -> StreetSettings:
    """librdkafka tells of every connection it tries, twenty times a second; a command says one sentence at its end."""
    return settings.model_copy(update={"kafka": {"log_level": "2", **settings.kafka}})


def environment_settings() -> StreetSettings:
    """The settings of the environment, or one sentence about what is wrong with them."""
    return from_environment(StreetSettings)


def target_of(street: Mapping[str, Any]) -> Target:
    """The deployment that `up` described."""
    settings = StreetSettings(
        kafka_bootstrap=street["kafka_bootstrap"],
        postgres_dsn=street["postgres_dsn"],
        stripe_url=street["stripe_url"],
        stripe_api_key=street["stripe_api_key"],
        clock=street.get("clock", "system"),
        partitions=street.get("partitions", 12),
        topic_prefix=street.get("topic_prefix", ""),
        confluent_schema_ids=street.get("confluent_schema_ids", {}),
    )
    return Target(quiet(settings), street.get("metrics", {}), street.get("clock_url"), street.get("settles_sooner", False))


def require_known(connection: Connection, customer: str | None) -> None:
    """A customer that nobody ever heard of is most often a slip of the hand: nothing found is not the same as nothing there."""
    if customer is not None and not customers.is_known(connection, customer):
        raise AnswerIsNo(f"the ledger knows no customer {customer!r}: no mapping and no usage")


def ledger(target: Target) -> Connection:
    """A connection to the deployment's ledger, which must have the schema of this code."""
    target.settings.require("postgres_dsn")
    connection = connect(target.settings.postgres_dsn, "trueup-cli")
    require_current(connection)
    return connection
