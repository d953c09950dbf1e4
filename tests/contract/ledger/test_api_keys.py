"""Keys to the doors: kept as hashes, two at a time, taken back for good."""

from __future__ import annotations

import threading

import psycopg
import pytest

from tests.conftest import Database
from trueup.ledger.store import api_keys
from trueup.ledger.store.api_keys import RefusedKey
from trueup.ledger.store.connection import connect


def made(database: Database, holder: str = "inference team", **changed: object) -> str:
    """A key, made as the writer."""
    wish = {"scopes": ["events:write"], "sources": ["inference"], "reason": "test", "created_by": "test"} | changed
    with connect(database.writer_dsn, "test") as connection:
        return api_keys.create(connection, holder, **wish)  # type: ignore[arg-type]


def live(database: Database) -> list[str]:
    """Names of the keys that are not revoked."""
    with connect(database.writer_dsn, "test") as connection:
        return [key.key_id for key in api_keys.every(connection) if key.revoked_at_ms is None]


def test_the_ledger_holds_no_key(database: Database) -> None:
    """Nothing in the database gives a key away."""
    text = made(database)
    secret = text.rpartition("_")[2]
    with psycopg.connect(database.dsn) as connection:
        rows = connection.execute("select k::text from ledger.api_key k").fetchall()
    assert len(rows) == 1
    assert secret not in rows[0][0] and text not in rows[0][0]
    with connect(database.writer_dsn, "test") as connection:
        (key,) = api_keys.every(connection)
    assert (key.key_id, key.key_sha256) == (api_keys.id_in(text), api_keys.hash_of(text))
    assert key.may_write_as("inference") and not key.may_write_as("batch")


def test_two_live_keys_and_no_third(database: Database) -> None:
    """One can follow the other without a gap; a third waits until one was taken back."""
    first, second = made(database), made(database)
    with pytest.raises(RefusedKey, match="live keys"):
        made(database)
    made(database, "another team")
    with connect(database.writer_dsn, "test") as connection:
        assert api_keys.revoke(connection, str(api_keys.id_in(first)), reason="rotated", revoked_by="test")
        assert not api_keys.revoke(connection, str(api_keys.id_in(first)), reason="rotated", revoked_by="test")
        with pytest.raises(RefusedKey, match="no key"):
            api_keys.revoke(connection, "0123456789ab", reason="rotated", revoked_by="test")
    third = made(database)
    assert {api_keys.id_in(second), api_keys.id_in(third)} < set(live(database))
    assert api_keys.id_in(first) not in live(database)


def test_two_at_the_same_moment(database: Database) -> None:
    """Eight that ask at once get two keys."""
    refusals: list[RefusedKey] = []

    def ask() -> None:
        try:
            made(database)
        except RefusedKey as refusal:
            refusals.append(refusal)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(live(database)), len(refusals)) == (2, 6)


def test_a_key_that_was_made_before_is_recorded_once(database: Database) -> None:
    """The same text again changes nothing; a revoked one does not come back."""
    text = api_keys.new_text()
    assert made(database, text=text) == made(database, text=text) == text
    assert len(live(database)) == 1
    with connect(database.writer_dsn, "test") as connection:
        api_keys.revoke(connection, str(api_keys.id_in(text)), reason="lost", revoked_by="test")
    with pytest.raises(RefusedKey, match="made before"):
        made(database, text=text)


@pytest.mark.parametrize(
    "changed",
    [
        {"scopes": []},
        {"scopes": ["everything"]},
        {"sources": []},
        {"sources": [""]},
        {"sources": ["a\0b"]},
        {"text": "password"},
        {"text": "trueup__"},
    ],
)
def test_what_is_no_key(database: Database, changed: dict[str, object]) -> None:
    """Refused before anything is written."""
    with pytest.raises(RefusedKey):
        made(database, **changed)
    with pytest.raises(RefusedKey):
        made(database, holder=" ")
    assert live(database) == []
