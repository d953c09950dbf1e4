"""Milliseconds to what psycopg writes as timestamptz."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(ms: int) -> datetime:
    """An instant in UTC, exact to the millisecond."""
    return _EPOCH + timedelta(milliseconds=ms)


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970-01-01 UTC, rounded down."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)
