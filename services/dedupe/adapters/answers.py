"""How the client's errors are read: what may be asked again, what is over, what ends the process."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException, Message

_LATER = frozenset(
    {
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._WAIT_COORD,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.NETWORK_EXCEPTION,
    }
)


def failure_of(raised: KafkaException) -> KafkaError:
    """The error inside the exception."""
    error = raised.args[0]
    if not isinstance(error, KafkaError):
        raise raised
    return error


def may_be_asked_again(error: KafkaError) -> bool:
    """Says whether the same question may be answered later."""
    return error.code() in _LATER or error.retriable()


def offset_of(message: Message) -> int:
    """The offset of a message that was read, which the client's types hold to be missing on one that was not."""
    offset = message.offset()
    if offset is None:
        raise ValueError("the message was never read from a topic")
    return offset
