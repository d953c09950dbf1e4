"""Everything the emulator knows, changed only by records: a restart applies the journal's records again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from devstack.stripe_emulator.agenda import Agenda
from devstack.stripe_emulator.books import Books
from devstack.stripe_emulator.deliveries import Deliveries
from devstack.stripe_emulator.faults import FaultPlan, fault_from
from devstack.stripe_emulator.journal import Record
from devstack.stripe_emulator.memories import IdentifierMemory, SavedAnswer, SavedAnswers
from devstack.stripe_emulator.switches import Switches, changed

Object = dict[str, Any]
MOST_PREVIEWS = 1_000


class State:
    """Objects by kind and id, the books, the memories, the faults and the switches."""

    def __init__(self, switches: Switches) -> None:
        self.switches = switches
        self.objects: dict[str, dict[str, Object]] = {}
        self.books = Books()
        self.identifiers = IdentifierMemory()
        self.answers = SavedAnswers()
        self.faults = FaultPlan()
        self.counted_again = 0
        self.rejected: dict[str, dict[str, list[Decimal]]] = {}
        # What lies ahead on the street's own clock, under "", and on each of Stripe's test clocks.
        self.agendas: dict[str, Agenda] = {"": Agenda()}
        self.deliveries = Deliveries()
        # Meter events refused after they were received, by meter and window: code, message and request of each.
        self.refused: dict[tuple[str, int], list[tuple[str, str, str]]] = {}
        self.drafts: dict[str, Object] = {}
        # Lines of previews that were shown, for their further pages. No record tells of them: a restart forgets them.
        self.previews: dict[str, list[Object]] = {}
        self._meter_of_event_name: dict[str, str] = {}
        self._counted: set[tuple[str, str]] = set()

    def apply(self, records: Iterable[Record]) -> None:
        """Let the records of a request take effect."""
        for record in records:
            getattr(self, "_apply_" + record["record"])(record)

    def find(self, kind: str, identifier: str) -> Object | None:
        """Give an object by kind and id."""
        return self.objects.get(kind, {}).get(identifier)

    def newest_first(self, kind: str) -> list[Object]:
        """List the objects of a kind as Stripe lists them."""
        return list(reversed(self.objects.get(kind, {}).values()))

    def remember_preview(self, identifier: str, lines: list[Object]) -> None:
        """Keep the lines of a preview for a while."""
        self.previews[identifier] = lines
        while len(self.previews) > MOST_PREVIEWS:
            del self.previews[next(iter(self.previews))]

    def meter_named(self, event_name: str) -> Object | None:
        """Give the meter of an event name, active or not."""
        meter = self._meter_of_event_name.get(event_name)
        return None if meter is None else self.objects["meter"][meter]

    def identifier_scope(self, meter: Object) -> str:
        """Give the space in which identifiers are unique."""
        return "" if self.switches.identifier_scope == "account" else str(meter["id"])

    def _apply_object(self, record: Record) -> None:
        found = record["object"]
        self.objects.setdefault(record["kind"], {})[found["id"]] = found
        if record["kind"] == "meter":
            self._meter_of_event_name[found["event_name"]] = found["id"]

    def _apply_meter_event(self, record: Record) -> None:
        meter, customer, identifier = record["meter"], record["customer"], record["identifier"]
        received_ms = record["received_ms"]
        counted = record["counted"]
        if counted or self.switches.rejected_identifier_remembered:
            self.identifiers.remember(self.identifier_scope(self.objects["meter"][meter]), identifier, received_ms)
            self.identifiers.forget_before(received_ms - self.switches.identifier_window_seconds * 1000)
        if not counted:
            self.rejected.setdefault(meter, {}).setdefault(customer, []).append(Decimal(record["value"]))
            code, message, request, window = record.get("refusal", ("meter_event_invalid_value", "", "", 0))
            self.refused.setdefault((meter, window), []).append((code, message, request))
            return
        if (meter, identifier) in self._counted:
            self.counted_again += 1
        self._counted.add((meter, identifier))
        self.books.count(meter, customer, identifier, Decimal(record["value"]), record["timestamp"], received_ms)

    def clock_of(self, customer: str) -> str:
        """Name the test clock that a customer lives by; empty for the street's."""
        found = self.find("customer", customer)
        return (found or {}).get("test_clock") or ""

    def now_ms_for(self, customer: str, now_ms: int) -> int:
        """Give the present instant of a customer: its test clock stands still until somebody advances it."""
        clock = self.find("test_clock", self.clock_of(customer))
        return now_ms if clock is None else int(clock["frozen_time"]) * 1000

    def _apply_due(self, record: Record) -> None:
        self.agendas.setdefault(record["clock"], Agenda()).put(record["kind"], record["id"], record["at_ms"])

    def _apply_draft(self, record: Record) -> None:
        self.drafts[record["invoice"]] = record

    def _apply_event(self, record: Record) -> None:
        self.objects.setdefault("event", {})[record["event"]["id"]] = record["event"]
        for endpoint, due_ms in record["deliveries"].items():
            self.deliveries.order(record["event"]["id"], endpoint, due_ms)

    def _apply_delivery(self, record: Record) -> None:
        self.deliveries.attempted(record)

    def _apply_saved_answer(self, record: Record) -> None:
        answer = SavedAnswer(record["fingerprint"], record["status"], record["body"], record["request_id"])
        self.answers.save(record["key"], answer, record["saved_ms"])
        self.answers.forget_before(record["saved_ms"] - self.switches.idempotency_window_seconds * 1000)

    def _apply_switches(self, record: Record) -> None:
        self.switches = changed(self.switches, record["wishes"])

    def _apply_faults_added(self, record: Record) -> None:
        self.faults.add([fault_from(order) for order in record["faults"]])

    def _apply_faults_cleared(self, record: Record) -> None:
        self.faults.clear()

    def _apply_fault_used(self, record: Record) -> None:
        self.faults.use(record["number"])

    def settings(self) -> dict[str, Any]:
        """Show the switches."""
        return dataclasses.asdict(self.switches)
