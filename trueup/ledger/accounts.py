"""The accounts that quantities move between; the same numbers stand in table ledger.account."""

from enum import IntEnum


class Account(IntEnum):
    """Where a quantity stands. Over all accounts the sum is zero, since every movement leaves one and enters another."""

    USAGE = 1
    UNSENT = 2
    IN_FLIGHT = 3
    ACKNOWLEDGED = 4
    INVOICED = 5
    MISSED_INVOICE = 6
    REJECTED = 7
    IN_REVIEW = 8
    CHARGED_BY_ITEM = 9
    WAIVED = 10
    WRITTEN_OFF = 11
    SHADOW = 12
