"""What publishing can answer, each with what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass

from trueup.contracts.errors import PipelineError, Poison, Transient
from trueup.contracts.events import Refusal


class InvalidUsage(Poison, ValueError):
    """This event would be refused; it was not sent. Mend what produces it."""

    def __init__(self, refusal: Refusal) -> None:
        """Keep the refusal, whose reason and field are those of the refused topic."""
        super().__init__(refusal.detail)
        self.refusal = refusal


class Backlogged(Transient):
    """The local queue is full: the broker is slower than the publisher, or away. This event was not taken; send it again later."""


class MisplacedPublisher(PipelineError):
    """The publisher can't be used here: it is closed, or this process is a fork of the one that made it."""


@dataclass(frozen=True, slots=True)
class FailedDelivery:
    """One event that the broker did not acknowledge. It may have arrived all the same: sending it again is always safe."""

    id: str
    why: str


class DeliveryFailed(Transient):
    """Events that were taken earlier did not reach the broker. Send them again: the same id is counted once.

    The call that raises this has not taken its own event.
    """

    def __init__(self, failures: Iterable[FailedDelivery]) -> None:
        """Name the events."""
        self.failures = tuple(failures)
        shown = ", ".join(f"{failure.id} ({failure.why})" for failure in self.failures[:10])
        more = f" and {len(self.failures) - 10} more" if len(self.failures) > 10 else ""
        super().__init__(f"{len(self.failures)} events were not delivered: {shown}{more}")

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the events, in the order in which they failed."""
        return tuple([failure.id for failure in self.failures])
