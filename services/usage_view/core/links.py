"""A customer's link: who may see whose page until when, under a signature that only this deployment can make."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from enum import StrEnum

from trueup.contracts.keys import length_prefixed

SHORTEST_SECONDS, USUAL_SECONDS, LONGEST_SECONDS = 60, 900, 86_400
# What is signed begins with its purpose: the secret can never be made to sign anything else.
_PURPOSE = b"trueup customer page 1"
_UNTIL = re.compile(r"[0-9]{1,12}", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)


class LinkVerdict(StrEnum):
    """What a link is worth."""

    GENUINE = "genuine"
    EXPIRED = "expired"
    FORGED = "forged"


def sign(customer: str, until_seconds: int, secret: bytes) -> str:
    """Sign that whoever holds this may see the customer's page until then."""
    content = length_prefixed(_PURPOSE, customer.encode(), str(until_seconds).encode())
    return hmac.new(secret, content, hashlib.sha256).hexdigest()


def check(customer: str, until: str, signature: str, secrets: Sequence[bytes], now_ms: int) -> LinkVerdict:
    """Judge a link by every secret that may have signed it, and by our own date; one that lies further ahead than any is forged too."""
    if not _UNTIL.fullmatch(until) or not _SIGNATURE.fullmatch(signature) or str(int(until)) != until:
        return LinkVerdict.FORGED
    genuine = [hmac.compare_digest(sign(customer, int(until), secret), signature) for secret in secrets]
    if not any(genuine) or int(until) * 1_000 > now_ms + LONGEST_SECONDS * 1_000:
        return LinkVerdict.FORGED
    return LinkVerdict.GENUINE if now_ms < int(until) * 1_000 else LinkVerdict.EXPIRED
