"""Reading the catalogue's TOML: every fault is listed with its line, and nothing unknown is let through."""

import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeVar

from trueup.contracts.durations import seconds_of
from trueup.contracts.events import LONGEST_NAME
from trueup.contracts.meters import (
    Aggregation,
    Catalogue,
    CatalogueError,
    Fault,
    LateDecision,
    LateRule,
    Meter,
    Plan,
    PlanChangeAfter,
    PlanChangeBefore,
    Policy,
)
from trueup.contracts.toml_lines import Path, line_of, lines_by_path

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SYNTAX_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_LARGEST_SCALE = 12
_LONGEST_STRIPE_NAME = 100
_METER_KEYS = (
    "unit",
    "scale",
    "aggregation",
    "billing_window",
    "horizon",
    "close_margin",
    "roll_up",
    "stripe_event_name",
)
_POLICY_KEYS = ("finalization_grace", "summary_settle", "bill_from", "plan_change", "late")

Choice = TypeVar("Choice", bound=StrEnum)


def read(text: str) -> Catalogue:
    """Read a catalogue's text; CatalogueError lists every fault."""
    text = text.removeprefix("\ufeff")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        found = _SYNTAX_LINE.search(str(fault))
        # A fault at the end of the text has no line in the message: it is the last one.
        line = int(found.group(1)) if found else len(text.splitlines()) or 1
        raise CatalogueError([Fault(line, f"no valid TOML: {fault}")]) from fault
    reading = _Reading(document, lines_by_path(text))
    catalogue = reading.catalogue()
    if reading.faults:
        raise CatalogueError(reading.faults)
    return catalogue


class _Reading:
    """One pass over a document that collects faults instead of stopping at the first."""

    def __init__(self, document: Mapping[str, Any], lines: Mapping[Path, int]) -> None:
        self._document = document
        self._lines = lines
        self.faults: list[Fault] = []

    def catalogue(self) -> Catalogue:
        self._refuse_unknown(self._document, (), ("meter", "plan", "policy"))
        plans = {name: self._plan(name, table) for name, table in self._tables("plan")}
        policy = self._policy(self._table(self._document.get("policy", {}), ("policy",)))
        meters = {name: self._meter(name, table, plans) for name, table in self._tables("meter")}
        if not meters and not self.faults:
            self._fault((), "no meter is declared")
        for meter in meters.values():
            self._check_closing(meter, policy)
        self._check_stripe_names(meters)
        return Catalogue(MappingProxyType(meters), MappingProxyType(plans), policy)

    # Parts of the document.

    def _meter(self, name: str, table: Mapping[str, Any], plans: Mapping[str, Plan]) -> Meter:
        path: Path = ("meter", name)
        self._name(name, path)
        self._refuse_unknown(table, path, _METER_KEYS)
        meter = Meter(
            name=name,
            unit=self._text(table, path, "unit", "token"),
            scale=self._integer(table, path, "scale", 0, largest=_LARGEST_SCALE),
            aggregation=self._choice(table, path, "aggregation", Aggregation.SUM),
            billing_window_seconds=self._duration(table, path, "billing_window", 2_700),
            horizon_seconds=self._duration(table, path, "horizon", 2_937_600),
            close_margin_seconds=self._duration(table, path, "close_margin", 600),
            roll_up_seconds=self._duration(table, path, "roll_up", 300),
            stripe_event_name=self._stripe_event_name(table, path, name, plans),
        )
        self._check_meter(meter, path)
        return meter

    def _check_meter(self, meter: Meter, path: Path) -> None:
        if meter.roll_up_seconds < 60 or 3_600 % meter.roll_up_seconds != 0:
            self._fault((*path, "roll_up"), "roll_up must divide an hour and be at least PT1M")
        elif meter.roll_up_seconds % 60 != 0:
            self._fault((*path, "roll_up"), "roll_up must be whole minutes: Stripe's summaries are cut at minutes")
        if meter.aggregation is Aggregation.COUNT and meter.scale != 0:
            self._fault((*path, "scale"), "a meter that counts events has scale 0")
        if meter.horizon_seconds < meter.billing_window_seconds:
            self._fault((*path, "horizon"), "horizon is shorter than billing_window")

    def _stripe_event_name(self, table: Mapping[str, Any], path: Path, meter: str, plans: Mapping[str, Plan]) -> str | Mapping[str, str]:
        path = (*path, "stripe_event_name")
        value = table.get("stripe_event_name", meter)
        if isinstance(value, str):
            self._stripe_name(value, path)
            return value
        if not isinstance(value, dict) or not value:
            self._fault(path, "stripe_event_name is a text, or a table of one text per plan")
            return meter
        names = {}
        for plan, name in value.items():
            if plan not in plans:
                self._fault((*path, plan), f"stripe_event_name names the plan {plan!r}, which is not declared")
            if not isinstance(name, str):
                self._fault((*path, plan), f"the Stripe event name for plan {plan!r} must be a text")
                continue
            self._stripe_name(name, (*path, plan))
            names[plan] = name
        return MappingProxyType(names)

    def _plan(self, name: str, table: Mapping[str, Any]) -> Plan:
        path: Path = ("plan", name)
        self._name(name, path)
        self._refuse_unknown(table, path, ("stripe_prices",))
        prices = table.get("stripe_prices", [])
        if not isinstance(prices, list) or not all(isinstance(price, str) and price.strip() for price in prices):
            self._fault((*path, "stripe_prices"), "stripe_prices is a list of Stripe price ids")
            prices = []
        if len(set(prices)) != len(prices):
            self._fault((*path, "stripe_prices"), "stripe_prices names a price twice")
        return Plan(name, tuple(prices))

    def _policy(self, table: Mapping[str, Any]) -> Policy:
        path: Path = ("policy",)
        self._refuse_unknown(table, path, _POLICY_KEYS)
        change_path = (*path, "plan_change")
        change = self._table(table.get("plan_change", {}), change_path)
        self._refuse_unknown(change, change_path, ("before_change", "after_change"))
        return Policy(
            finalization_grace_seconds=self._duration(table, path, "finalization_grace", 86_400),
            summary_settle_seconds=self._duration(table, path, "summary_settle", 7_200),
            bill_from_ms=self._instant(table, path, "bill_from"),
            before_change=self._choice(change, change_path, "before_change", PlanChangeBefore.OLD_PRICE),
            after_change=self._choice(change, change_path, "after_change", PlanChangeAfter.TAIL),
            late=self._late(table.get("late", []), (*path, "late")),
        )

    def _late(self, rules: Any, path: Path) -> tuple[LateRule, ...]:
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            self._fault(path, "late is a list of tables: [[policy.late]]")
            return ()
        read = []
        for index, rule in enumerate(rules):
            rule_path = (*path, index)
            self._refuse_unknown(rule, rule_path, ("below_quantity", "then"))
            if "then" not in rule:
                self._fault(rule_path, "a late rule needs `then`")
            below = self._integer(rule, rule_path, "below_quantity", 1, smallest=1) if "below_quantity" in rule else None
            read.append(LateRule(below, self._choice(rule, rule_path, "then", LateDecision.REVIEW)))
            if below is None and index < len(rules) - 1:
                self._fault(rule_path, "this rule fits everything: the ones after it are never asked")
        return tuple(read)

    # What holds between the parts.

    def _check_closing(self, meter: Meter, policy: Policy) -> None:
        needed = meter.billing_window_seconds + meter.roll_up_seconds + meter.close_margin_seconds
        if needed >= policy.finalization_grace_seconds:
            self._fault(
                ("meter", meter.name),
                f"meter.{meter.name}: billing_window + roll_up + close_margin is {needed} s and must stay below finalization_grace, "
                f"{policy.finalization_grace_seconds} s: the period's last usage could not reach its invoice",
            )

    def _check_stripe_names(self, meters: Mapping[str, Meter]) -> None:
        owner: dict[str, str] = {}
        for meter in meters.values():
            for name in dict.fromkeys(meter.stripe_event_names):
                if owner.setdefault(name, meter.name) != meter.name:
                    self._fault(
                        ("meter", meter.name, "stripe_event_name"),
                        f"meters {owner[name]!r} and {meter.name!r} both feed the Stripe event name {name!r}",
                    )

    # Values.

    def _tables(self, key: str) -> list[tuple[str, Mapping[str, Any]]]:
        return [(name, self._table(table, (key, name))) for name, table in self._table(self._document.get(key, {}), (key,)).items()]

    def _table(self, value: Any, path: Path) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        self._fault(path, f"{_dotted(path)} must be a table")
        return {}

    def _text(self, table: Mapping[str, Any], path: Path, key: str, default: str) -> str:
        value = table.get(key, default)
        if isinstance(value, str) and value.strip() and "\0" not in value:
            return value
        self._fault((*path, key), f"{key} must be a text that is not blank")
        return default

    def _integer(self, table: Mapping[str, Any], path: Path, key: str, default: int, *, smallest: int = 0, largest: int = 10**15) -> int:
        value = table.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and smallest <= value <= largest:
            return value
        self._fault((*path, key), f"{key} must be an integer from {smallest} to {largest}")
        return default

    def _duration(self, table: Mapping[str, Any], path: Path, key: str, default: int) -> int:
        if key not in table:
            return default
        value = table[key]
        try:
            return seconds_of(value if isinstance(value, str) else repr(value))
        except ValueError as fault:
            self._fault((*path, key), f"{key}: {fault}")
            return default

    def _choice(self, table: Mapping[str, Any], path: Path, key: str, default: Choice) -> Choice:
        value = table.get(key, default.value)
        for choice in type(default):
            if choice.value == value:
                return choice
        self._fault((*path, key), f"{key} must be one of {', '.join(choice.value for choice in type(default))}; it is {value!r}")
        return default

    def _instant(self, table: Mapping[str, Any], path: Path, key: str) -> int | None:
        value = table.get(key)
        if value is None:
            return None
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                value = None
        if isinstance(value, datetime) and value.tzinfo is not None:
            return (value - _EPOCH) // timedelta(milliseconds=1)
        self._fault((*path, key), f"{key} must be an instant with its offset, such as 2026-11-01T00:00:00Z")
        return None

    def _name(self, name: str, path: Path) -> None:
        if not name.strip() or len(name) > LONGEST_NAME or "\0" in name:
            self._fault(path, f"{name!r} is no name: 1 to {LONGEST_NAME} characters, not blank")

    def _stripe_name(self, name: str, path: Path) -> None:
        if not name.strip() or len(name) > _LONGEST_STRIPE_NAME or "\0" in name:
            self._fault(path, f"{name!r} is no Stripe event name: 1 to {_LONGEST_STRIPE_NAME} characters, not blank")

    def _refuse_unknown(self, table: Mapping[str, Any], path: Path, known: tuple[str, ...]) -> None:
        for key in table:
            if key not in known:
                self._fault((*path, key), f"unknown key {_dotted((*path, key))}; known here: {', '.join(known)}")

    def _fault(self, path: Path, message: str) -> None:
        self.faults.append(Fault(line_of(self._lines, path), message))


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path if isinstance(part, str))
