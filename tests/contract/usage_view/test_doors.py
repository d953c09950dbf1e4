"""The doors over HTTP: who gets in, what is answered, and what a link opens."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import requests

from devstack.process import wait_until
from services.usage_view.core.links import sign
from tests.conftest import Database
from tests.makers.capture_batches import make_announced, make_event, make_forwarded
from tests.makers.room_process import bearer, make_key
from tests.makers.true_ledger import MINUTE_MS, NOON_MS, TrueLedger
from tests.makers.usage_room import OLD_SECRET, SECRET, UsageRoom, usage_room
from trueup.ledger.store import api_keys
from trueup.ledger.store.connection import connect
from trueup.runtime.clock import SystemClock
from trueup.runtime.settings import StreetSettings

SEPTEMBER = "2026-09-11T14:00:00Z"
MARKUP = "\"><script>alert(1)</script>/&amp;'{{ 7*7 }}"


def ask(room: UsageRoom, path: str, key: str, **query: str) -> requests.Response:
    """A GET with a key."""
    return requests.get(f"{room.url}{path}", params=query, headers=bearer(key), timeout=30)


def link(room: UsageRoom, key: str, **wish: object) -> requests.Response:
    """A link asked for."""
    return requests.post(f"{room.url}/v1/customer-links", json=wish, headers=bearer(key), timeout=30)


def address(room: UsageRoom, customer: str, secret: str = SECRET, seconds: int = 600) -> str:
    """A link that whoever knows the secret makes himself."""
    until = SystemClock().now_ms() // 1_000 + seconds
    return f"{room.url}/customers/{quote(customer, safe='')}?until={until}&signature={sign(customer, until, secret.encode())}"


def test_the_json_of_the_contract(room: UsageRoom, key: str) -> None:
    """Every member that contract §4 names, in its form; captured through to now where the topic's end is captured."""
    told = ask(room, "/v1/customers/acme/usage", key, period=SEPTEMBER).json()
    assert told["period"] == {"start": SEPTEMBER, "end": "2026-10-11T14:00:00Z"}
    assert {"customer", "period", "data_through", "currency", "meters", "lines", "total_minor"} <= set(told)
    tokens = next(meter for meter in told["meters"] if meter["meter"] == "tokens")
    assert tokens == {"meter": "tokens", "unit": "token", "quantity": "109", "in_flight": "0", "under_review": "40", "corrections": "-3"}
    (line,) = told["lines"]
    assert {"meter", "price_id", "tier", "quantity", "unit_amount_decimal", "amount_minor"} <= set(line)


def test_who_gets_in(room: UsageRoom, key: str, database: Database) -> None:
    """A key that is not one, one for something else, and one that was taken back a moment ago."""
    path = "/v1/customers/acme/usage"
    publishing = make_key(database.dsn, "other", scopes=("events:write",))
    assert requests.get(room.url + path, timeout=30).status_code == 401
    assert ask(room, path, key[:-4] + "0000").status_code == 401
    assert ask(room, path, publishing).status_code == 403
    assert link(room, publishing, customer="acme").status_code == 403
    assert ask(room, path, key).status_code == 200
    with connect(database.dsn, "test") as connection:
        api_keys.revoke(connection, api_keys.id_in(key) or "", reason="test", revoked_by="test")
    assert wait_until(lambda: ask(room, path, key).status_code == 401, 10, 0.1)


WRONG = [
    ("/v1/customers/nobody/usage", {}, 404),
    ("/v1/customers/acme/usage", {"period": "2026-09-12"}, 404),
    ("/v1/customers/acme/usage", {"period": "soon"}, 422),
    ("/v1/customers/acme/usage", {"period": ""}, 422),
    ("/v1/customers/acme/usage", {"perod": "current"}, 422),
    ("/v1/customers/acme/usage?period=current&period=previous", {}, 422),
    ("/v1/customers/acme/usage", {"by": ""}, 422),
    ("/v1/customers/acme/events", {"limit": "0"}, 422),
    ("/v1/customers/acme/events", {"limit": "1001"}, 422),
    ("/v1/customers/acme/events", {"limit": "٣"}, 422),
    ("/v1/customers/acme/events", {"cursor": "AAAA"}, 422),
    ("/v1/customers/acme", {}, 404),
    ("/v1/customers/acme/%00/usage", {}, 404),
    ("/v1/customers/%FF/usage", {}, 404),
    ("/desk", {}, 404),
]


def test_what_is_refused(room: UsageRoom, key: str) -> None:
    """Each with a problem that says why, none with a server error."""
    for path, query, status in WRONG:
        answer = ask(room, path, key, **query)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), (path, query, answer.text)
    wishes = [{}, {"customer": ""}, {"customer": 1}, {"customer": "acme", "expires_in_seconds": 59}, {"customer": "acme", "more": 1}]
    assert [link(room, key, **wish).status_code for wish in wishes] == [422] * 5
    assert link(room, key, customer="nobody").status_code == 404


def test_events_page_by_page(room: UsageRoom, key: str) -> None:
    """Four tokens events and one that is late, two at a time."""
    seen: list[str] = []
    query = {"period": SEPTEMBER, "meter": "tokens", "limit": "2"}
    following: dict[str, str] = {}
    while True:
        told = ask(room, "/v1/customers/acme/events", key, **query, **following).json()
        seen += [event["id"] for event in told["events"]]
        if told["next_cursor"] is None:
            break
        following = {"cursor": told["next_cursor"]}
    assert seen == ["e1", "e2", "e3", "l1", "e4"]
    assert ask(room, "/v1/customers/acme/events", key, **query | {"meter": "runs"}, **following).status_code == 422


def test_a_link_opens_the_page_and_nothing_else(room: UsageRoom, key: str) -> None:
    """The page has the JSON's numbers; a link for another, a changed one, an old one and none are told the same little."""
    made = link(room, key, customer="acme", expires_in_seconds=600)
    assert made.status_code == 201
    page = requests.get(made.json()["url"] + f"&period={quote(SEPTEMBER)}", timeout=30)
    assert page.status_code == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert (page.headers["Cache-Control"], page.headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert ">109<" in re.sub(r"\s+", "", page.text)
    assert not re.search(r"<script|https?://|\ssrc=|@import|url\(", page.text)
    url = made.json()["url"]
    forged = [url.replace("acme", "globex"), url[:-1] + ("0" if url[-1] != "0" else "1"), f"{room.url}/customers/acme"]
    forged += [address(room, "acme", "x" * 32), address(room, "acme", seconds=200_000), url + "&until=1"]
    assert [requests.get(one, timeout=30).status_code for one in forged] == [403] * 6
    assert len({requests.get(one, timeout=30).text for one in forged}) == 1
    expired = requests.get(address(room, "acme", seconds=-1), timeout=30)
    assert (expired.status_code, "expired" in expired.text) == (403, True)
    assert requests.get(address(room, "acme", OLD_SECRET), timeout=30).status_code == 200
    assert requests.get(address(room, "acme") + "&period=2026-01-01", timeout=30).status_code == 404


def test_names_are_text_and_never_markup(room: UsageRoom, ledger: TrueLedger, key: str) -> None:
    """A customer may be called anything: what it says stays words, in the page and in every link on it."""
    event = make_event("x1", event_time_ms=NOON_MS, customer=MARKUP, quantity=1)
    ledger.capture(
        make_announced(first_offset=12, on_time=[make_forwarded(12, event, arrival_ms=NOON_MS + 63 * MINUTE_MS)], progress_offset=2)
    )
    made = link(room, key, customer=MARKUP)
    page = requests.get(made.json()["url"] + "&period=2026-09-01", timeout=30)
    assert page.status_code == 200, page.text
    assert "<script" not in page.text and "&lt;script&gt;" in page.text and "49" not in page.text.split("<bdi>")[1].split("</bdi>")[0]
    addresses = re.findall(r'href="([^"]*)"', page.text)
    assert all(one.startswith("/customers/%22%3E%3Cscript") for one in addresses)
    assert ask(room, f"/v1/customers/{quote(MARKUP, safe='')}/usage", key, period="2026-09-01").json()["customer"] == MARKUP


def test_without_the_ledger(room: UsageRoom, key: str, database: Database) -> None:
    """503 and when to come again, as JSON and as a page; and back as soon as the ledger is."""
    path = "/v1/customers/acme/usage"
    page = address(room, "acme")
    assert ask(room, path, key, period=SEPTEMBER).status_code == 200
    with psycopg.connect(database.server.dsn(), autocommit=True) as admin:
        admin.execute(f'alter database "{database.name}" with allow_connections false')
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (database.name,))
        answers = [ask(room, path, key, period=SEPTEMBER), requests.get(page, timeout=30)]
        admin.execute(f'alter database "{database.name}" with allow_connections true')
    assert [(answer.status_code, answer.headers.get("Retry-After")) for answer in answers] == [(503, "2")] * 2
    assert wait_until(lambda: ask(room, path, key, period=SEPTEMBER).status_code == 200, 20, 0.2)


def test_it_starts_with_a_secret_only(settings: StreetSettings, database: Database, tmp_path: Path) -> None:
    """A short secret could be guessed: the room ends and says which variable it is."""
    room = UsageRoom(settings, database, tmp_path, TRUEUP_USAGE_LINK_SECRET="short")
    with pytest.raises(AssertionError, match="TRUEUP_USAGE_LINK_SECRET"):
        room.start()
    assert room.process is not None and room.process.wait(10) == 2


def test_the_broker_is_not_needed_to_answer(
    settings: StreetSettings, database: Database, ledger: TrueLedger, key: str, tmp_path: Path
) -> None:
    """Without it only data_through is more cautious."""
    event = make_event("e1", event_time_ms=NOON_MS, quantity=7)
    ledger.capture(make_announced(on_time=[make_forwarded(0, event, arrival_ms=NOON_MS + MINUTE_MS)]))
    alone = {"TRUEUP_KAFKA_BOOTSTRAP": "127.0.0.1:1", "TRUEUP_PARTITIONS": "1"}
    with usage_room(settings, database, tmp_path, **alone) as room:
        told = ask(room, "/v1/customers/acme/usage", key, period="2026-09-01").json()
        assert (told["data_through"], told["meters"][0]["quantity"]) == ("2026-09-21T14:01:00Z", "7")
