"""RFC 3339 instants, and nothing that merely looks like one."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def milliseconds(text: str) -> int:
    """Milliseconds since 1970-01-01 UTC, finer digits cut off; ValueError when the text is no instant with its offset."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError("an instant is written as 2026-11-01T09:30:00Z (RFC 3339, with its offset)")
    fraction = found.group(1) or ""
    whole = datetime.fromisoformat(text.replace(fraction, "", 1).upper())
    seconds = (whole - _EPOCH) // timedelta(seconds=1)
    return seconds * 1_000 + int(fraction[1:4].ljust(3, "0") or "0")
