"""What must hold of the topics before a door takes anything."""

from __future__ import annotations

from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]  # public, but not in __all__

from services.ingest.config import Settings
from trueup.contracts.errors import Broken
from trueup.contracts.topics import TopicNames
from trueup.runtime.kafka import REQUEST_TIMEOUT_SECONDS, admin


def check_topics(settings: Settings, simulated: bool) -> None:
    """Refuse topics that are missing, of other partitions, or dated by another clock than the street's: an event's arrival rests on it."""
    names = TopicNames(settings.topic_prefix)
    client = admin(settings)
    present = client.list_topics(timeout=REQUEST_TIMEOUT_SECONDS).topics
    faults = [f"{name} does not exist" for name in (names.usage_events, names.webhooks, names.catalogue) if name not in present]
    if not faults:
        count = len(present[names.usage_events].partitions)
        if count != settings.partitions:
            faults.append(f"{names.usage_events} has {count} partitions, TRUEUP_PARTITIONS says {settings.partitions}")
        asked = ConfigResource(ResourceType.TOPIC, names.usage_events)
        answer = client.describe_configs([asked], request_timeout=REQUEST_TIMEOUT_SECONDS)[asked].result()
        found, wanted = answer["message.timestamp.type"].value, "CreateTime" if simulated else "LogAppendTime"
        if found != wanted:
            faults.append(f"{names.usage_events} has message.timestamp.type={found}, not {wanted}")
    if faults:
        raise Broken(f"{'; '.join(faults)}. `trueup topics plan` shows the difference, `trueup topics apply` mends what can be mended")
