"""Before anything is sent: is this the ledger that was armed, or a copy of it from before?"""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import KafkaException

from services.stripe_sink.adapters.shown_positions import shown_positions
from services.stripe_sink.config import Settings
from services.stripe_sink.core.restored import behind
from trueup.contracts.errors import Transient
from trueup.contracts.topics import TopicNames
from trueup.ledger import migrate
from trueup.ledger.store import capture as ledger
from trueup.ledger.store.dispatch import arming
from trueup.ledger.store.session import Connection, Session
from trueup.runtime import log
from trueup.runtime.loop import Stop

RETRY_SECONDS = 1.0


def disarm_if_restored(settings: Settings, stop: Stop) -> None:
    """Disarms a ledger that has gone back in time; waits until both Kafka and Postgres have answered.

    A copy of a database's files keeps its identity, and with it its arming. What was sent after the copy was made would be cut
    and sent once more under other identifiers. Capture reads on from where the copy stands, which is exact; only sending waits
    for a person, who arms it again after each lane was compared.
    """
    lines = log.get("restored")
    session = Session(settings.postgres_dsn, f"trueup-{settings.room}/restored")
    try:
        while not stop:
            try:
                partitions = behind(shown_positions(settings), _held(session, settings))
                disarmed = bool(partitions) and session.run(_disarming(partitions))
                if disarmed:
                    lines.critical("disarmed: the ledger stands behind what it once held", partitions=partitions)
                return
            except (KafkaException, Transient) as away:
                lines.warning("whether this ledger was restored is not known yet; nothing is sent", why=str(away))
                stop.wait(RETRY_SECONDS)
    finally:
        session.close()


def _held(session: Session, settings: Settings) -> dict[int, int]:
    topic = TopicNames(settings.topic_prefix).progress
    session.run(migrate.require_current)
    return session.run(lambda connection: ledger.positions(connection, topic))


def _disarming(partitions: list[int]) -> Callable[[Connection], bool]:
    def disarm(connection: Connection) -> bool:
        if not arming.status(connection).armed:
            return False
        reason = f"this ledger stands behind what it once held, in partitions {partitions}: it was restored from a copy"
        arming.disarm(connection, reason=reason, by=arming.SINK)
        return True

    return disarm
