"""`trueup topics`: the declared topics against the cluster. It creates and grows; it never shrinks, rewrites or deletes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewPartitions, NewTopic

from trueup.cli.faults import AnswerIsNo
from trueup.cli.options import AsJson
from trueup.cli.output import emit_rows, say
from trueup.cli.target import Target, find_target
from trueup.contracts.topics import Topic, declared
from trueup.runtime.kafka import REQUEST_TIMEOUT_SECONDS, admin

COLUMNS = ("topic", "change", "setting", "declared", "found", "reason")
Replication = Annotated[
    int,
    typer.Option("--replication-factor", min=-1, help="Copies of each partition of a topic that is created; -1: as the cluster has it."),
]
InSync = Annotated[
    int | None, typer.Option("--min-insync-replicas", min=1, help="Copies that must have a record before a producer hears yes.")
]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as declared; `create` and `grow` are what `apply` does, `drift` is for a person."""

    topic: str
    change: str
    setting: str
    declared: str
    found: str
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as the cluster has it."""

    partitions: int
    settings: Mapping[str, str]


def register(app: typer.Typer) -> None:
    """Adds the verbs."""
    nouns = typer.Typer(help="Declared topics and settings against the cluster.", no_args_is_help=True)
    nouns.command("plan")(plan)
    nouns.command("apply")(apply)
    app.add_typer(nouns, name="topics")


def differences(topics: Sequence[Topic], found: Mapping[str, Found]) -> Iterator[Difference]:
    """Everything that is not as declared, topic by topic."""
    for topic in topics:
        here = found.get(topic.name)
        if here is None:
            yield Difference(
                topic.name, "create", "partitions", str(topic.partitions), "", f"{topic.record}, for {', '.join(topic.read_by)}"
            )
            continue
        if here.partitions < topic.partitions:
            yield Difference(topic.name, "grow", "partitions", str(topic.partitions), str(here.partitions), "fewer than declared")
        elif here.partitions > topic.partitions:
            yield Difference(
                topic.name, "drift", "partitions", str(topic.partitions), str(here.partitions), "partitions can't be taken away"
            )
        for setting, wanted in topic.settings.items():
            value = here.settings.get(setting)
            if value != wanted:
                yield Difference(topic.name, "drift", setting, wanted, value or "", topic.reasons.get(setting, ""))


def found_topics(client: AdminClient, names: Sequence[str]) -> dict[str, Found]:
    """The topics of these names that exist, with the settings in force."""
    present = client.list_topics(timeout=REQUEST_TIMEOUT_SECONDS).topics
    here = [name for name in names if name in present]
    if not here:
        return {}
    asked = client.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in here], request_timeout=REQUEST_TIMEOUT_SECONDS)
    settings = {resource.name: {key: entry.value for key, entry in future.result().items()} for resource, future in asked.items()}
    return {name: Found(len(present[name].partitions), settings[name]) for name in here}


def declared_for(target: Target, replication_factor: int, min_insync_replicas: int | None) -> tuple[Topic, ...]:
    """The topics of this deployment."""
    settings = target.settings
    return declared(
        target.clock.simulated,
        settings.partitions,
        prefix=settings.topic_prefix,
        replication_factor=replication_factor,
        min_insync_replicas=min_insync_replicas,
    )


def show(rows: Sequence[Difference], *, as_json: bool) -> None:
    """The differences, one a row."""
    emit_rows([asdict(row) for row in rows], COLUMNS, as_json=as_json)


def plan(replication_factor: Replication = -1, min_insync_replicas: InSync = None, as_json: AsJson = False) -> None:
    """Show what is not as declared; exit 1 when anything is."""
    target = find_target()
    topics = declared_for(target, replication_factor, min_insync_replicas)
    rows = list(differences(topics, found_topics(admin(target.settings), [topic.name for topic in topics])))
    show(rows, as_json=as_json)
    if rows:
        raise AnswerIsNo(f"{len(rows)} differences; `trueup topics apply` creates and grows, drift is yours to decide")
    say("Every topic is as declared.")


def apply(replication_factor: Replication = -1, min_insync_replicas: InSync = None, as_json: AsJson = False) -> None:
    """Create what is missing, grow what is too small. Exit 1 when drift is left."""
    target = find_target()
    topics = declared_for(target, replication_factor, min_insync_replicas)
    client = admin(target.settings)
    names = [topic.name for topic in topics]
    rows = list(differences(topics, found_topics(client, names)))
    create(client, [topic for topic in topics if any(row.topic == topic.name and row.change == "create" for row in rows)])
    grow(client, [row for row in rows if row.change == "grow"])
    show(rows, as_json=as_json)
    drift = [row for row in rows if row.change == "drift"]
    if drift:
        raise AnswerIsNo(f"{len(drift)} settings drifted and were left alone")
    say("Every topic is as declared.")


def create(client: AdminClient, topics: Sequence[Topic]) -> None:
    """Creates topics and waits for the cluster's answer."""
    new = [
        NewTopic(topic.name, num_partitions=topic.partitions, replication_factor=topic.replication_factor, config=dict(topic.settings))
        for topic in topics
    ]
    wait(client.create_topics(new, request_timeout=REQUEST_TIMEOUT_SECONDS) if new else {})


def grow(client: AdminClient, rows: Sequence[Difference]) -> None:
    """Adds partitions; keys move with them, which no rule of ours rests on."""
    more = [NewPartitions(row.topic, int(row.declared)) for row in rows]
    wait(client.create_partitions(more, request_timeout=REQUEST_TIMEOUT_SECONDS) if more else {})


def wait(answers: Mapping[str, Any]) -> None:
    """Raises the first refusal."""
    for future in answers.values():
        future.result()
