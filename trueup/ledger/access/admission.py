"""Who may come in: the key is looked at before a byte of the body is."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from trueup.contracts.problems import Problem, Refused, forbidden, unauthorized
from trueup.ledger.store.api_keys import ApiKey
from trueup.runtime.http.gate import RETRY_AFTER_SECONDS

_LONGEST_TOKEN = 512


class Keys(Protocol):
    """Knows the keys to the doors."""

    async def find(self, text: str) -> ApiKey | None:
        """The live key of this text; Transient while the keys are not known."""


class Access:
    """Checks keys and scopes, and lets no key take the whole room."""

    def __init__(self, keys: Keys, most_of_key: int) -> None:
        self._keys = keys
        self._most_of_key = most_of_key
        self._in_hand: Counter[str] = Counter()

    @asynccontextmanager
    async def admit(self, headers: Mapping[str, str], *scopes: str) -> AsyncIterator[ApiKey]:
        """Let a request in whose key has one of these scopes."""
        key = await self._authenticate(headers)
        if not set(scopes) & set(key.scopes):
            raise forbidden(f"the key has no scope {' or '.join(scopes)}")
        if self._in_hand[key.key_id] >= self._most_of_key:
            detail = f"{self._most_of_key} requests of this key are in hand"
            raise Refused(Problem(429, "too-many-requests", "Too many at once", detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}))
        self._in_hand[key.key_id] += 1
        try:
            yield key
        finally:
            self._in_hand[key.key_id] -= 1
            if not self._in_hand[key.key_id]:
                del self._in_hand[key.key_id]

    async def _authenticate(self, headers: Mapping[str, str]) -> ApiKey:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        text = token.strip()
        if scheme.lower() != "bearer" or not 0 < len(text) <= _LONGEST_TOKEN:
            raise unauthorized("send Authorization: Bearer and the key")
        key = await self._keys.find(text)
        if key is None:
            raise unauthorized("the key is not known, or was revoked")
        return key
