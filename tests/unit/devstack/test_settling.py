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
