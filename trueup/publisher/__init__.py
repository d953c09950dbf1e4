"""What a service imports to publish its usage: never blocking, never losing in silence."""

from trueup.publisher.errors import Backlogged, DeliveryFailed, InvalidUsage
from trueup.publisher.publisher import Publisher

__all__ = ["Backlogged", "DeliveryFailed", "InvalidUsage", "Publisher"]
