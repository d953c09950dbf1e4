"""The same month as the system tests of invoices."""

from tests.system.dispatch.conftest import dispatch_emulator, world
from tests.system.reconciler.test_invoices import month

__all__ = ["dispatch_emulator", "month", "world"]
