"""The same world as the system tests of dispatch."""

from tests.system.dispatch.conftest import dispatch_emulator, world

__all__ = ["dispatch_emulator", "world"]
