"""Before anything is sent: is this the ledger that was armed, or a copy of it from before?"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from confluent_kafka import KafkaException

from services.stripe_sink.adapters.shown_positions import shown_positions
from services.stripe_sink.config import Settings
from services.stripe_sink.core.restored import behind
from trueup.contracts.errors import Transient
from trueup.contracts.topics import TopicNames
from trueup.ledger import migrate
from trueup.ledger.store import capture as ledger
from trueup.ledger.store.dispatch import arming
from trueup.ledger.store.session import Connection
from trueup.runtime import log


class RestoredGuard:
    """Looks at a connection before it is used, once per start of the server behind it: files are put back under a stopped one only.

    A copy of a database's files keeps its identity, and with it its arming. What was sent after the copy was made would be cut
    and sent once more under other identifiers. So a ledger that has gone back in time is disarmed. Capture reads on from where
    the copy stands, which is exact; only sending waits for a person, who arms it again after each lane was compared.
    Capture asks as well: it shows Kafka where the ledger stands, and would wipe out what the copy is known by.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._looked_at: str | None = None
        self._lock = threading.Lock()

    def __call__(self, connection: Connection) -> None:
        """Disarm a ledger that was put back; Transient while Kafka does not say what it was shown."""
        with self._lock:
            server = arming.server_start(connection)
            if server == self._looked_at:
                return
            migrate.require_current(connection)
            # What was shown is asked first: other sinks go on, and what they commit in between must not look like a step back.
            try:
                shown = shown_positions(self._settings)
            except KafkaException as away:
                raise Transient(f"whether this ledger was restored is not known yet, nothing is done: {away}") from away
            partitions = behind(shown, ledger.positions(connection, TopicNames(self._settings.topic_prefix).progress))
            if partitions:
                disarm_restored(connection, partitions)
            self._looked_at = server


def disarm_restored(connection: Connection, partitions: Sequence[int]) -> None:
    """Stop sending from a ledger that was found behind in these partitions; disarmed already, it stays so for the reason it has."""
    if not arming.status(connection).armed:
        return
    reason = f"this ledger stands behind what it once held, in partitions {list(partitions)}: it was restored from a copy"
    arming.disarm(connection, reason=reason, by=arming.SINK)
    log.get("restored").critical("disarmed: the ledger stands behind what it once held", partitions=list(partitions))
