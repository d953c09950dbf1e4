"""What must hold of the topics before the room reads a single record."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from services.dedupe.config import Settings
from trueup.contracts.errors import Broken
from trueup.contracts.topics import TopicNames
from trueup.runtime.kafka import REQUEST_TIMEOUT_SECONDS, admin

_REMEDY = "`trueup topics plan` shows the difference, `trueup topics apply` mends what can be mended"


def check_topics(settings: Settings, names: TopicNames, simulated: bool) -> None:
    """Refuses to start on topics that would give wrong answers, naming every fault at once."""
    client = admin(settings)
    alike = (names.usage_events, names.on_time, names.late, names.rejected, names.progress)
    present = client.list_topics(timeout=REQUEST_TIMEOUT_SECONDS).topics
    faults = [f"{name} does not exist" for name in (*alike, names.catalogue) if name not in present]
    if not faults:
        counts = {name: len(present[name].partitions) for name in alike}
        faults += [
            f"{name} has {count} partitions, TRUEUP_PARTITIONS says {settings.partitions}"
            for name, count in counts.items()
            if count != settings.partitions
        ]
        wanted = "CreateTime" if simulated else "LogAppendTime"
        faults += [
            f"{name} has message.timestamp.type={found}, not {wanted}"
            for name, found in _timestamp_types(client, (names.usage_events, names.catalogue)).items()
            if found != wanted
        ]
    if faults:
        raise Broken(f"{'; '.join(faults)}. {_REMEDY}")


def _timestamp_types(client: AdminClient, topics: tuple[str, ...]) -> dict[str, str]:
    asked = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
    answers = client.describe_configs(asked, request_timeout=REQUEST_TIMEOUT_SECONDS)
    return {resource.name: answer.result()["message.timestamp.type"].value for resource, answer in answers.items()}
