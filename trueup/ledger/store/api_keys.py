"""Keys to the doors over HTTP: made once, kept as a hash, taken back by a fact of their own."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from trueup.contracts.errors import Poison
from trueup.ledger.store import queries

WRITE = "events:write"
SCOPES = (WRITE, "usage:read", "customers:write", "review:decide")
EVERY_SOURCE = "*"
PREFIX = "trueup_"
"""What every key begins with, so that whoever scans for leaked secrets finds one."""
MOST_LIVE_KEYS = 2
_ID_BYTES = 6
_SECRET_BYTES = 32


class RefusedKey(Poison):
    """This key can't be made or taken back; the text says why."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept: what it opens, never its text."""

    key_id: str
    holder: str
    key_sha256: bytes
    scopes: tuple[str, ...]
    sources: tuple[str, ...]
    reason: str
    created_by: str
    recorded_at_ms: int
    revoked_at_ms: int | None = None
    revoked_reason: str | None = None

    def may_write_as(self, source: str) -> bool:
        """Whether it may write, and look at, events of this source."""
        return EVERY_SOURCE in self.sources or source in self.sources


def new_text() -> str:
    """Draw the text of a new key: a name that is no secret, and 256 bits that are one."""
    return f"{PREFIX}{secrets.token_hex(_ID_BYTES)}_{secrets.token_hex(_SECRET_BYTES)}"


def id_in(text: str) -> str | None:
    """The name inside a key's text; None when it is no key of ours."""
    parts = text.split("_")
    return parts[1] if len(parts) == 3 and f"{parts[0]}_" == PREFIX and parts[1] and parts[2] else None


def hash_of(text: str) -> bytes:
    """What is kept of a key. Its 256 random bits need no slow hash."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def create(
    connection: psycopg.Connection,
    holder: str,
    *,
    scopes: Sequence[str],
    sources: Sequence[str],
    reason: str,
    created_by: str,
    text: str | None = None,
) -> str:
    """Make a key and give its text, the only time anyone sees it. A `text` that was made before is recorded once."""
    made = text or new_text()
    key_id = id_in(made)
    _check(holder, scopes, sources, key_id)
    statements = queries.load("api_keys")
    with connection.transaction():
        connection.execute(statements["one_at_a_time"], {"holder": holder})
        live = [row[0] for row in connection.execute(statements["live_of"], {"holder": holder})]
        if key_id in live:
            return made
        if len(live) >= MOST_LIVE_KEYS:
            raise RefusedKey(f"{holder} has the live keys {' and '.join(live)} already: revoke one first")
        given = {
            "key_id": key_id,
            "holder": holder,
            "key_sha256": hash_of(made),
            "scopes": sorted(set(scopes)),
            "sources": sorted(set(sources)),
            "reason": reason,
            "created_by": created_by,
        }
        if connection.execute(statements["add"], given).rowcount != 1:
            raise RefusedKey(f"the key {key_id} was made before, and is revoked or another holder's")
    return made


def revoke(connection: psycopg.Connection, key_id: str, *, reason: str, revoked_by: str) -> bool:
    """Take a key back; False when it was already. RefusedKey when there is no such key."""
    statements = queries.load("api_keys")
    with connection.transaction():
        row = connection.execute(statements["known"], {"key_id": key_id}).fetchone()
        if row is None or not row[0]:
            raise RefusedKey(f"there is no key {key_id}")
        return connection.execute(statements["revoke"], {"key_id": key_id, "reason": reason, "revoked_by": revoked_by}).rowcount == 1


def every(connection: psycopg.Connection) -> list[ApiKey]:
    """Every key ever made, oldest first."""
    rows = connection.execute(queries.load("api_keys")["keys"]).fetchall()
    return [ApiKey(row[0], row[1], bytes(row[2]), tuple(row[3]), tuple(row[4]), *row[5:]) for row in rows]


def live(connection: psycopg.Connection) -> list[ApiKey]:
    """Every key that opens something."""
    rows = connection.execute(queries.load("api_keys")["live"]).fetchall()
    return [ApiKey(row[0], row[1], bytes(row[2]), tuple(row[3]), tuple(row[4]), *row[5:]) for row in rows]


def _check(holder: str, scopes: Sequence[str], sources: Sequence[str], key_id: str | None) -> None:
    unknown = sorted(set(scopes) - set(SCOPES))
    if not scopes or unknown:
        raise RefusedKey(f"scopes are {', '.join(SCOPES)}; {', '.join(unknown) or 'none'} was asked for")
    if WRITE in scopes and not sources:
        raise RefusedKey("a key that writes events names the sources it may write, or * for all")
    if not holder.strip() or any("\0" in text for text in (holder, *sources)) or any(not source for source in sources):
        raise RefusedKey("a key has a holder, and sources that are not blank")
    if key_id is None:
        raise RefusedKey(f"the text of a key is {PREFIX}ID_SECRET")
