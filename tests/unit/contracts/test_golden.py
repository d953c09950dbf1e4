"""What was released stays readable, byte for byte and key for key; Apache's own decoder reads the same from it."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import avro.io
import avro.schema
import pytest

from trueup.contracts import codec, keys
from trueup.contracts.catalogue import CatalogueVersion
from trueup.contracts.events import UsageEvent
from trueup.contracts.progress import NewIds, ProgressRecord, Tally
from trueup.contracts.webhooks import StripeWebhook

GOLDEN = Path(__file__).parents[2] / "fixtures" / "golden"
DIGESTS = {
    "catalogue_version.v1.avsc": "b79d8f96ad0e13da574c1113db97492c3b503ba1d70047c64ef0f2df1bcfe831",
    "catalogue_version.v1.json": "3897fd4cc57995f00feaee0eb642c16539f4622b80d364c49ee3ff9486f5efc4",
    "keys.v1.json": "a5507d013a4249876b201b1041083a6876a0fc8b87aa6cd279b3e467f99456a2",
    "keys.v2.json": "c56416467e2f71e11c262a97269ac7a8104c2e6d4011519297dc9011cb2a6113",
    "stripe_webhook.v1.avsc": "693f259fc47e4d564099a326aa10026002f14721cadfb485b2975b6c02c76295",
    "stripe_webhook.v1.json": "a3b424f82e3413bc902937679989485407c66d69da455c7da5029195027aa1b2",
    "usage_event.v1.avsc": "c6d1702bbded7c52c09ba6482be79584b56ef8cbe2582fe5e475318611f67dfd",
    "usage_event.v1.json": "c43aac0e4bb528b7b7b42bc44348e0f9383e74b792eb286538b2cb400a54dc77",
    "usage_progress.v1.avsc": "85a03f14078ec97d3d381b4e1e0611eb4af9565334f0cc8d27d166f7f6d0eeb5",
    "usage_progress.v1.json": "6fa73f383c3d1b7d8a5395a0fbfc6c0c77b64823e358f968ae0b68c59d4c3dd6",
}
TALLIES = ("arrived", "on_time", "late", "duplicate", "refused")
DECODER = codec.Decoder({7: codec.USAGE_EVENT})


def rows(name: str) -> list[Any]:
    """Read a file of golden rows, each with its name as the test's."""
    content = json.loads((GOLDEN / name).read_text(encoding="utf-8"))
    return [pytest.param(row, id=row["name"]) for row in content]


def test_golden_files_are_only_added_to() -> None:
    """Every file that was ever released still has the bytes it was released with."""
    present = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in GOLDEN.glob("*.v*")}
    assert present == DIGESTS


@pytest.mark.parametrize("row", rows("usage_event.v1.json"))
def test_usage_event(row: dict[str, Any]) -> None:
    """Both framings are read to the same event, written to the same bytes, and give the same keys."""
    event = UsageEvent(**row["event"])
    single, confluent = bytes.fromhex(row["single_object"]), bytes.fromhex(row["confluent_7"])
    assert DECODER.decode(single) == event
    assert DECODER.decode(confluent) == event
    assert codec.decode_strictly(single[10:], codec.schema(codec.USAGE_EVENT)) == event
    assert codec.encode_event(event) == single
    assert codec.encode_event(event, codec.Framing.CONFLUENT, 7) == confluent
    identity = keys.identity(event.source, event.id)
    assert identity.hex() == row["identity"]
    assert keys.payload_hash(event).hex() == row["payload_hash"]
    assert keys.record_hash(single).hex() == keys.record_hash(confluent).hex() == row["record_hash"]
    assert keys.id_sum_term(identity) == row["id_sum_term"]


@pytest.mark.parametrize("row", rows("usage_event.v1.json"))
def test_usage_event_as_apache_avro_reads_it(row: dict[str, Any]) -> None:
    """A decoder that others wrote finds the same values in the same bytes, and writes the same bytes from them."""
    # Apache's timestamp-millis reaches from year 1 to 9999; the long beneath it is what travels.
    text = json.loads((GOLDEN / "usage_event.v1.avsc").read_text(encoding="utf-8"))
    text["fields"][2]["type"] = "long"
    schema = avro.schema.parse(json.dumps(text))
    body = bytes.fromhex(row["single_object"])[10:]
    reading = io.BytesIO(body)
    datum = avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(reading))
    assert reading.tell() == len(body)
    assert datum == {("event_time" if name == "event_time_ms" else name): value for name, value in row["event"].items()}
    writing = io.BytesIO()
    avro.io.DatumWriter(schema).write(datum, avro.io.BinaryEncoder(writing))
    assert writing.getvalue() == body


@pytest.mark.parametrize("row", rows("usage_progress.v1.json"))
def test_progress(row: dict[str, Any]) -> None:
    """Progress records, from which the dedupe room's memory is restored."""
    fields = dict(row["record"])
    fields.update({name: Tally(**fields[name]) for name in TALLIES})
    fields["new_ids"] = tuple([NewIds(ids["hour"], bytes.fromhex(ids["packed"])) for ids in fields["new_ids"]])
    record = ProgressRecord(**fields)
    assert codec.decode_progress(bytes.fromhex(row["single_object"])) == record
    assert codec.encode_progress(record).hex() == row["single_object"]


@pytest.mark.parametrize("row", rows("catalogue_version.v1.json"))
def test_catalogue_version(row: dict[str, Any]) -> None:
    """Catalogue versions, kept for ever."""
    version = CatalogueVersion(**row["record"])
    assert codec.decode_catalogue_version(bytes.fromhex(row["single_object"])) == version
    assert codec.encode_catalogue_version(version).hex() == row["single_object"]


@pytest.mark.parametrize("row", rows("stripe_webhook.v1.json"))
def test_stripe_webhook(row: dict[str, Any]) -> None:
    """Notifications from Stripe, kept with the bytes that their signature covers."""
    webhook = StripeWebhook(**row["record"] | {"body": bytes.fromhex(row["record"]["body"])})
    assert codec.decode_webhook(bytes.fromhex(row["single_object"])) == webhook
    assert codec.encode_webhook(webhook).hex() == row["single_object"]


def test_other_keys() -> None:
    """Keys that are no part of a record: of undecodable bytes, and of what is sent to Stripe."""
    golden = json.loads((GOLDEN / "keys.v1.json").read_text(encoding="utf-8"))
    for row in golden["bytes_identity"]:
        value = None if row["value"] is None else bytes.fromhex(row["value"])
        assert keys.bytes_identity(value).hex() == row["identity"]
    # Intents made before their identifier knew the customer's meter keep it: it stands in the ledger and is never made again.
    for row in json.loads((GOLDEN / "keys.v2.json").read_text(encoding="utf-8"))["intent_identifier"]:
        identifier = row.pop("identifier")
        assert keys.intent_identifier(**row) == identifier
