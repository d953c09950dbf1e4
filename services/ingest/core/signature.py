"""Stripe's signature over a webhook, checked by ourselves: the library's own check lets the future pass."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from enum import StrEnum

OLDEST_MS = 300_000
FARTHEST_AHEAD_MS = 60_000
LONGEST_HEADER = 4_096
MOST_SIGNATURES = 10
_INSTANT = re.compile(r"[0-9]{1,12}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Verdict(StrEnum):
    """What a signature is worth."""

    GENUINE = "genuine"
    MISSING = "missing"
    MALFORMED = "malformed"
    OLD = "old"
    FUTURE = "future"
    WRONG = "wrong"


def check(header: str | None, body: bytes, secrets: Sequence[str], now_ms: int) -> Verdict:
    """Judge a `Stripe-Signature` header; any of the secrets may have made it, so that one can be rolled."""
    if not header:
        return Verdict.MISSING
    instant, signatures = _parts(header)
    if instant is None or not 0 < len(signatures) <= MOST_SIGNATURES:
        return Verdict.MALFORMED
    age_ms = now_ms - int(instant) * 1_000
    if age_ms > OLDEST_MS:
        return Verdict.OLD
    if age_ms < -FARTHEST_AHEAD_MS:
        return Verdict.FUTURE
    expected = [hmac.new(secret.encode(), instant.encode() + b"." + body, hashlib.sha256).hexdigest() for secret in secrets if secret]
    # Every pair is compared, whatever the ones before gave: how long it takes says nothing.
    matches = [hmac.compare_digest(mine, theirs) for mine in expected for theirs in signatures]
    return Verdict.GENUINE if any(matches) else Verdict.WRONG


def _parts(header: str) -> tuple[str | None, list[str]]:
    """The one instant and the signatures of our scheme; no instant when there is not exactly one that is a plain number."""
    if len(header) > LONGEST_HEADER:
        return None, []
    pairs = [part.partition("=") for part in header.split(",")]
    instants = [value for name, _, value in pairs if name == "t"]
    signatures = [value for name, _, value in pairs if name == "v1"]
    if len(instants) != 1 or _INSTANT.fullmatch(instants[0]) is None:
        return None, []
    if any(_HEX.fullmatch(signature) is None for signature in signatures):
        return None, []
    return instants[0], signatures
