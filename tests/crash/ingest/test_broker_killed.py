"""The broker is killed and started again under load: what was acknowledged is on the topic, what was refused is not."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from devstack import rooms
from devstack.process import wait_until
from devstack.rooms import EMULATOR, INGEST, KAFKA, POSTGRES
from devstack.street import Street
from tests.makers.ingest_room import a_notification, an_event, bearer, records, signed
from trueup.contracts.codec import Decoder, decode_webhook
from trueup.contracts.events import UsageEvent

EVENTS_A_REQUEST = 20


@dataclass
class Client:
    """One that sends requests for as long as it may, and writes down what it was told of each id."""

    url: str
    headers: dict[str, str]
    name: str
    insists: bool  # sends again what was not acknowledged, with the same ids, until it is
    stop: threading.Event
    acknowledged: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    once: set[str] = field(default_factory=set)  # acknowledged, and sent one time only
    statuses: Counter[int] = field(default_factory=Counter)

    def run(self) -> None:
        """Send, every fifth request one with a fault in it."""
        number = 0
        while not self.stop.is_set():
            number += 1
            ids = [f"{self.name}-{number}-{at}" for at in range(EVENTS_A_REQUEST)]
            events = [an_event(id, customer=f"customer {at % 9}") for at, id in enumerate(ids)]
            if number % 5 == 0:
                events[-1] |= {"value": 0.5}
            self.send(ids, events)

    def send(self, ids: list[str], events: list[dict[str, Any]]) -> None:
        """One request, again and again where this client insists."""
        tries = 0
        while True:
            tries += 1
            status = self.ask(events)
            self.statuses[status] += 1
            if status == 202:
                self.acknowledged.update(ids)
                self.once.update(ids if tries == 1 else ())
                return
            if 400 <= status < 500:
                self.refused.update(ids)
                return
            if not self.insists:
                self.unknown.update(ids)
                return
            time.sleep(0.05)

    def ask(self, events: list[dict[str, Any]]) -> int:
        """The status; 0 when nobody answered."""
        try:
            answer = requests.post(f"{self.url}/v1/events", json=events, headers=self.headers, timeout=60)
        except requests.RequestException:
            return 0
        if answer.status_code == 503:
            assert int(answer.headers["Retry-After"]) > 0
        return answer.status_code


def acknowledged_by(clients: list[Client]) -> int:
    """How many events were acknowledged so far."""
    return sum(len(client.acknowledged) for client in clients)


def reached(clients: list[Client], wanted: int) -> bool:
    """Whether so many were."""
    return acknowledged_by(clients) >= wanted


def on_topic(street: Street) -> Counter[str]:
    """How often each id stands on the topic."""
    found: Counter[str] = Counter()
    for message in records(street.settings, street.topics.usage_events):
        event = Decoder().decode(message.value())
        assert isinstance(event, UsageEvent)
        found[event.id] += 1
    return found


def campaign(folder: Path, kills: Sequence[Sequence[str]], *, acknowledged_between: int = 0) -> tuple[list[Client], Counter[str]]:
    """Kill these parts, one group after the other, under the load of four clients; gives what they were told and what is on the topic.

    Between the kills of one group so many events are still acknowledged, by a door that does so without a broker.
    """
    with Street(folder, parts=(KAFKA, POSTGRES, EMULATOR, INGEST), partitions=4) as street:
        said = street.describe()
        stop = threading.Event()
        clients = [Client(said["ingest_url"], bearer(said["ingest_api_key"]), f"c{number}", number % 2 == 0, stop) for number in range(4)]
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        for parts in kills:
            wanted = 500 + acknowledged_by(clients)
            assert wait_until(partial(reached, clients, wanted), 60), street.status()
            for part in parts:
                wanted = acknowledged_between + acknowledged_by(clients)
                street.kill(part)
                assert wait_until(partial(reached, clients, wanted), 60), street.status()
            street.wait_ready(KAFKA, INGEST)
        stop.set()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads)
        return clients, on_topic(street)


@pytest.mark.timeout(600)
def test_acknowledged_is_on_the_topic_exactly(tmp_path: Path) -> None:
    """Three kills of the broker and one of the room.

    Of those who insist, acknowledged = on the topic. Of those who give up, what was answered 503 may be there or not. Nothing that was
    refused is there, and what was sent once and acknowledged is there once.
    """
    clients, found = campaign(tmp_path, [(KAFKA,), (KAFKA, INGEST), (KAFKA,)])
    statuses = sum((client.statuses for client in clients), Counter())
    print(json.dumps({"statuses": statuses, "on the topic": len(found), "records": found.total()}))
    assert statuses[503] > 0
    refused = set().union(*(client.refused for client in clients))
    acknowledged = set().union(*(client.acknowledged for client in clients))
    unknown = set().union(*(client.unknown for client in clients))
    assert refused
    assert acknowledged - found.keys() == set(), "answered 202 and lost"
    assert refused & found.keys() == set(), "answered 4xx and sent"
    assert found.keys() - acknowledged <= unknown
    for client in clients:
        if client.insists:
            assert client.unknown == set()
            assert {id for id in found if id.startswith(f"{client.name}-")} == client.acknowledged
        assert {found[id] for id in client.once} == {1}


@pytest.mark.timeout(600)
def test_a_door_that_does_not_wait_for_the_broker_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same campaign sees what the known product did that answered 202 for what it then lost.

    Killed at once after the broker, the door might just have nothing in hand: it takes some more before.
    """
    monkeypatch.setitem(rooms._MODULES, INGEST, "tests.makers.hasty_door")
    clients, found = campaign(tmp_path, [(KAFKA, INGEST)], acknowledged_between=100)
    lost = set().union(*(client.acknowledged for client in clients)) - found.keys()
    print(f"{len(lost)} events answered 202 and lost")
    assert lost


@pytest.mark.timeout(600)
def test_while_the_broker_is_away_nothing_is_taken(tmp_path: Path) -> None:
    """Every door says 503 and when to come again; nothing of that is delivered afterwards behind the client's back."""
    with Street(tmp_path, parts=(KAFKA, POSTGRES, EMULATOR, INGEST), partitions=4) as street:
        said = street.describe()
        headers, body = bearer(said["ingest_api_key"]), a_notification()
        assert requests.post(f"{said['ingest_url']}/v1/events", json=an_event("before"), headers=headers, timeout=60).status_code == 202
        street.supervisor.kill(KAFKA, 19)  # stands still: connections stay open, and no answer comes
        first = requests.post(f"{said['ingest_url']}/v1/events", json=an_event("while"), headers=headers, timeout=60)
        assert (first.status_code, first.headers["Content-Type"]) == (503, "application/problem+json")
        assert wait_until(lambda: not requests.get(f"{said['ingest_url']}/readyz", timeout=30).ok, 30)
        started = time.monotonic()
        again = requests.post(f"{said['ingest_url']}/v1/events", json=an_event("meanwhile"), headers=headers, timeout=60)
        signature = {"Stripe-Signature": signed(body, said["stripe_webhook_secret"]), "Content-Type": "application/json"}
        told = requests.post(said["webhooks_url"], data=body, headers=signature, timeout=60)
        print(f"two answers while the broker is known to be away: {time.monotonic() - started:.2f} s")
        assert [(answer.status_code, int(answer.headers["Retry-After"]) > 0) for answer in (again, told)] == [(503, True)] * 2
        assert requests.post(f"{said['ingest_url']}/v1/events", json=[1], headers=headers, timeout=60).status_code == 422
        street.supervisor.kill(KAFKA, 18)
        assert wait_until(lambda: requests.get(f"{said['ingest_url']}/readyz", timeout=30).ok, 60)
        assert requests.post(f"{said['ingest_url']}/v1/events", json=an_event("after"), headers=headers, timeout=60).status_code == 202
        assert requests.post(said["webhooks_url"], data=body, headers=signature, timeout=60).status_code == 200
        found = on_topic(street)
        # "while" had reached the broker's socket before it stood still: that is the one whose fate the client was told not to know.
        assert set(found) - {"while"} == {"before", "after"}
        webhooks = records(street.settings, street.topics.webhooks)
        assert [decode_webhook(message.value() or b"").event_id for message in webhooks] == ["evt_1"]
