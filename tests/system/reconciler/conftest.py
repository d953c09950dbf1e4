"""The world of dispatch with its emulator, for reading instead of sending."""

from tests.system.dispatch.conftest import dispatch_emulator, world

__all__ = ["dispatch_emulator", "world"]
