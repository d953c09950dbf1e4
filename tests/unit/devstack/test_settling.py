"""Any catalogue of a local street settles within seconds, and says nothing else than it said."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from devstack.settling import settled_sooner

EXAMPLE = (Path(__file__).parents[3] / "deploy" / "catalogue.example.toml").read_text(encoding="utf-8")
METER = '[meter.calls]\nunit = "call"\n'


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE,
        METER,
        METER + "[policy]",
        METER + "[ policy ] # ours\nfinalization_grace = 'PT24H'\n",
        "[policy]\n  summary_settle = 'PT3H' # soon\n" + METER,
        '[policy]\n# summary_settle = "PT1H"\nsummary_settle="PT3H"\n' + METER,
    ],
)
def test_only_the_time_to_settle_is_another(text: str) -> None:
    before, after = tomllib.loads(text), tomllib.loads(settled_sooner(text))
    assert after["policy"].pop("summary_settle") == "PT5S"
    before.setdefault("policy", {}).pop("summary_settle", None)
    assert after == before
    assert settled_sooner(settled_sooner(text)) == settled_sooner(text)


@pytest.mark.parametrize(
    "text",
    [
        'policy.finalization_grace = "PT24H"\n' + METER,
        'policy = { finalization_grace = "PT24H" }\n' + METER,
        '["policy"]\nfinalization_grace = "PT24H"\n' + METER,
        METER + "[policy",
    ],
)
def test_what_is_written_otherwise_is_left_as_it_is(text: str) -> None:
    """Every catalogue that can be read can be read still, and a fault is named as its own."""
    assert settled_sooner(text) == text
