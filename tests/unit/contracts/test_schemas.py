"""Schemas: named as Avro's specification says, found wherever we are installed, and readable in both directions for ever."""

import json
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import avro.schema
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from trueup.contracts import codec
from trueup.contracts.plain_event import WRITTEN_BY

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "fixtures" / "golden"
RECORDS = ("usage_event", "usage_progress", "catalogue_version", "stripe_webhook")
USAGE_EVENT_CANONICAL_FORM = (
    '{"name":"trueup.UsageEvent","type":"record","fields":['
    '{"name":"id","type":"string"},{"name":"source","type":"string"},{"name":"event_time","type":"long"},'
    '{"name":"meter","type":"string"},{"name":"customer","type":"string"},{"name":"quantity","type":"long"},'
    '{"name":"reason","type":["null","string"]},{"name":"corrects","type":["null","string"]},'
    '{"name":"dimensions","type":{"type":"map","values":"string"}}]}'
)


def rabin(data: bytes) -> int:
    """Compute CRC-64-AVRO bit by bit, from the specification's text."""
    empty = 0xC15D213AA4D7A795
    fingerprint = empty
    for byte in data:
        fingerprint ^= byte
        for _ in range(8):
            fingerprint = fingerprint >> 1 ^ (empty if fingerprint & 1 else 0)
    return fingerprint


def test_rabin_gives_the_specification_s_value() -> None:
    """The fingerprint of "int" in Avro's own test data."""
    assert rabin(b'"int"') == 0x7275D51A3F395C8F


def test_the_fingerprint_is_of_the_parsing_canonical_form() -> None:
    """Written out by hand: no docs, defaults or logical types, primitive types by their short name.

    (The Python avro package writes `{"type":"long"}` there, which is another fingerprint and not the specification's.)
    """
    expected = rabin(USAGE_EVENT_CANONICAL_FORM.encode()).to_bytes(8, "little")
    assert codec.schema("usage_event").fingerprint == expected == WRITTEN_BY


def test_the_fields_stand_in_the_order_of_the_contract() -> None:
    """What the dedupe room reads comes first."""
    declared = json.loads(codec.schema_text("usage_event"))
    names = [field["name"] for field in declared["fields"]]
    assert names == ["id", "source", "event_time", "meter", "customer", "quantity", "reason", "corrects", "dimensions"]
    assert declared["fields"][2]["type"] == {"type": "long", "logicalType": "timestamp-millis"}


def versions(record: str) -> list[dict[str, Any]]:
    """Give every released version of a schema, then today's."""
    paths = sorted(GOLDEN.glob(f"{record}.v*.avsc"), key=lambda path: int(path.name.split(".v")[1].split(".")[0]))
    assert paths, f"no golden schema of {record}"
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths] + [json.loads(codec.schema_text(record))]


def faults_between(reader: dict[str, Any], writer: dict[str, Any]) -> set[str]:
    """Ask Apache's checker whether one schema reads what the other wrote."""
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    result = checker.get_compatibility(avro.schema.parse(json.dumps(reader)), avro.schema.parse(json.dumps(writer)))
    return set() if result.compatibility is SchemaCompatibilityType.compatible else set(result.messages) | {"incompatible"}


@pytest.mark.parametrize("record", RECORDS)
def test_full_transitive(record: str) -> None:
    """Every version reads what every version wrote."""
    known = versions(record)
    for reader in known:
        for writer in known:
            assert faults_between(reader, writer) == set()


@pytest.mark.parametrize("record", RECORDS)
def test_today_s_schema_is_a_released_one(record: str) -> None:
    """A changed schema has another fingerprint: it must be released beside the old one (a new golden file), never in its place."""
    assert versions(record)[-1] == versions(record)[-2]


def changed_usage_event(change: str) -> dict[str, Any]:
    """Make a next version of the schema that breaks the rule in one way."""
    schema = deepcopy(versions("usage_event")[-1])
    fields = schema["fields"]
    if change == "a new field without a default":
        fields.append({"name": "region", "type": "string"})
    elif change == "a required field left out":
        del fields[0]
    elif change == "a field renamed":
        fields[3]["name"] = "gauge"
    elif change == "a long made an int":
        fields[5]["type"] = "int"
    elif change == "a long made a double":
        fields[5]["type"] = "double"
    elif change == "null taken out of a union":
        fields[6]["type"] = "string"
        del fields[6]["default"]
    return schema


@pytest.mark.parametrize(
    "change",
    [
        "a new field without a default",
        "a required field left out",
        "a field renamed",
        "a long made an int",
        "a long made a double",
        "null taken out of a union",
    ],
)
def test_the_checker_sees_what_it_is_for(change: str) -> None:
    """Each of these breaks a reader in at least one direction."""
    now, then = changed_usage_event("nothing"), changed_usage_event(change)
    assert faults_between(now, now) == set()
    assert faults_between(now, then) | faults_between(then, now)


def test_a_new_field_with_a_default_is_allowed() -> None:
    """The one way in which a record grows."""
    grown = changed_usage_event("nothing")
    grown["fields"].append({"name": "region", "type": "string", "default": ""})
    assert faults_between(grown, changed_usage_event("nothing")) == faults_between(changed_usage_event("nothing"), grown) == set()


def test_a_wheel_carries_the_schemas() -> None:
    """The build puts the folder where the installed package looks for it."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert build["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"] == {"schemas": "trueup/contracts/schemas"}
