"""Why a verb ends without success, and the exit code that says so."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

OK = 0
ANSWER_IS_NO = 1
USAGE = 2


class UsageFault(Exception):
    """The command was called or configured wrongly: exit code 2, and the sentence that says what to do."""


class AnswerIsNo(Exception):
    """The verb ran and its answer is no: exit code 1."""


def reason(failure: KafkaException) -> str:
    """What Kafka's client says, as a sentence."""
    first = failure.args[0] if failure.args else failure
    return first.str() if isinstance(first, KafkaError) else str(first)
