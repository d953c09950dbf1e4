"""The catalogue file: what is read, what is refused and on which line, and what a new version may not change."""

import pytest

from trueup.contracts.catalogue import (
    Aggregation,
    Catalogue,
    CatalogueError,
    LateDecision,
    LateRule,
    PlanChangeAfter,
    PlanChangeBefore,
    check_succession,
    parse,
)
from trueup.contracts.durations import duration_text, seconds_of

COMPLETE = """\
[meter.input_tokens]
unit = "token"
scale = 0                        # decimal places
aggregation = "sum"
billing_window = "PT45M"
horizon = "P34D"
close_margin = "PT10M"
roll_up = "PT5M"
stripe_event_name = "input_tokens"

[meter.storage]
unit = "GB-hour"
scale = 3
billing_window = "PT1H"
roll_up = "PT1M"

[meter.runs]
unit = "run"
aggregation = "count"
stripe_event_name = { basic = "runs_basic", pro = "runs_pro" }   # plan-scoped meters

[plan.basic]
stripe_prices = ["price_basic_runs", "price_input_tokens"]
[plan.pro]
stripe_prices = [
  "price_pro_runs",
  "price_input_tokens",
]

[policy]
finalization_grace = "PT24H"
summary_settle = "PT2H"
bill_from = "2026-11-01T00:00:00Z"
[policy.plan_change]
before_change = "new_price"
after_change = "period"
[[policy.late]]
below_quantity = 100
then = "accept"
[[policy.late]]
then = "charge-next"
"""


def faults(text: str) -> list[str]:
    """Give what a refused catalogue is refused for."""
    with pytest.raises(CatalogueError) as refused:
        parse(text)
    return [str(fault) for fault in refused.value.faults]


def test_complete() -> None:
    """Every key of the contract is read."""
    catalogue = parse(COMPLETE)
    tokens, storage, runs = (catalogue.meters[name] for name in ("input_tokens", "storage", "runs"))
    assert (tokens.unit, tokens.scale, tokens.aggregation, tokens.stripe_event_name) == ("token", 0, Aggregation.SUM, "input_tokens")
    assert (tokens.billing_window_seconds, tokens.horizon_seconds) == (2700, 34 * 86_400)
    assert (tokens.close_margin_seconds, tokens.roll_up_seconds) == (600, 300)
    assert (storage.scale, storage.billing_window_seconds, storage.roll_up_seconds) == (3, 3600, 60)
    assert (runs.aggregation, runs.stripe_event_name) == (Aggregation.COUNT, {"basic": "runs_basic", "pro": "runs_pro"})
    assert catalogue.plans["pro"].stripe_prices == ("price_pro_runs", "price_input_tokens")
    policy = catalogue.policy
    assert (policy.finalization_grace_seconds, policy.summary_settle_seconds) == (86_400, 7_200)
    assert policy.bill_from_ms == 1_793_491_200_000
    assert (policy.before_change, policy.after_change) == (PlanChangeBefore.NEW_PRICE, PlanChangeAfter.PERIOD)
    assert policy.late == (LateRule(100, LateDecision.ACCEPT), LateRule(None, LateDecision.CHARGE_NEXT))


def test_what_is_left_out_has_the_contract_s_defaults() -> None:
    """An empty table is the input_tokens of the contract under its own name."""
    catalogue = parse("[meter.x]\n")
    meter = catalogue.meters["x"]
    assert (meter.unit, meter.scale, meter.aggregation, meter.stripe_event_name) == ("token", 0, Aggregation.SUM, "x")
    assert (meter.billing_window_seconds, meter.horizon_seconds, meter.close_margin_seconds, meter.roll_up_seconds) == (
        2700,
        34 * 86_400,
        600,
        300,
    )
    policy = catalogue.policy
    assert (policy.finalization_grace_seconds, policy.summary_settle_seconds, policy.bill_from_ms) == (86_400, 7_200, None)
    assert (policy.before_change, policy.after_change) == (PlanChangeBefore.OLD_PRICE, PlanChangeAfter.TAIL)
    assert policy.decide_late(1) is LateDecision.REVIEW


def test_meters_say_where_stripe_counts_them() -> None:
    """By plan where the meter is plan-scoped, and nowhere without one."""
    meters = parse(COMPLETE).meters
    assert meters["runs"].stripe_event_name_for("pro") == "runs_pro"
    assert meters["runs"].stripe_event_name_for("gold") is None
    assert meters["runs"].stripe_event_name_for(None) is None
    assert meters["storage"].stripe_event_name_for(None) == "storage"
    assert meters["runs"].stripe_event_names == ("runs_basic", "runs_pro")


@pytest.mark.parametrize(("quantity", "decision"), [(99, "accept"), (-99, "accept"), (100, "charge-next"), (10**9, "charge-next")])
def test_the_first_late_rule_that_fits_decides(quantity: int, decision: str) -> None:
    """Below means below."""
    assert parse(COMPLETE).policy.decide_late(quantity) == decision


@pytest.mark.parametrize(
    "written", ["2026-11-01T00:00:00Z", '"2026-11-01T00:00:00Z"', '"2026-11-01T01:00:00+01:00"', "2026-10-31T20:00:00.000-04:00"]
)
def test_bill_from_in_every_form(written: str) -> None:
    """A TOML datetime or an RFC 3339 text, in any zone."""
    assert parse(f"[meter.x]\n[policy]\nbill_from = {written}\n").policy.bill_from_ms == 1_793_491_200_000


def test_a_byte_order_mark_and_windows_lines_are_met() -> None:
    """Editors write them."""
    assert parse("\ufeff" + COMPLETE.replace("\n", "\r\n")) == parse(COMPLETE)


METER = '[meter.x]\n# a comment\nunit = "x"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Unknown keys, at every depth, name their line.
        ("[meter.x]\n\n[metre.y]\n", ["line 3: unknown key metre; known here: meter, plan, policy"]),
        (METER + "scal = 1\n", ["line 4: unknown key meter.x.scal"]),
        ("meter.x.unti = 1\n", ["line 1: unknown key meter.x.unti"]),
        ('[meter]\nx = { unit = "x", foo = 1 }\n', ["line 2: unknown key meter.x.foo"]),
        ('[meter."a.b"]\nfoo = 1\n', ["line 2: unknown key meter.a.b.foo"]),
        (METER + "[plan.p]\nprices = []\n", ["line 5: unknown key plan.p.prices"]),
        (METER + "[policy]\ngrace = 1\n", ["line 5: unknown key policy.grace"]),
        (METER + "[policy.plan_change]\nwhen = 1\n", ["line 5: unknown key policy.plan_change.when"]),
        (
            METER + "[[policy.late]]\nbelow_quantity = 1\nthen = 'accept'\n[[policy.late]]\nthen = 'review'\nthan = 1\n",
            ["line 9: unknown key policy.late.than"],
        ),
        # No TOML.
        ("[meter.x]\nunit = token\n", ["line 2: no valid TOML"]),
        ("[meter.x]\nunit = 'a'\nunit = 'b'\n", ["line 3: no valid TOML"]),
        ("[meter.x]\nunit = '''a\n", ["line 2: no valid TOML"]),
        # No meter.
        ("", ["no meter is declared"]),
        ("[policy]\n", ["no meter is declared"]),
        ("meter = 1\n", ["line 1: meter must be a table"]),
        ("[meter]\nx = 1\n", ["line 2: meter.x must be a table"]),
        # Values.
        (METER.replace('"x"', '" "'), ["line 3: unit must be a text"]),
        (METER.replace('"x"', "1"), ["line 3: unit must be a text"]),
        (METER + "scale = -1\n", ["line 4: scale must be an integer from 0 to 12"]),
        (METER + "scale = 13\n", ["line 4: scale must be an integer"]),
        (METER + "scale = 1.0\n", ["line 4: scale must be an integer"]),
        (METER + "scale = true\n", ["line 4: scale must be an integer"]),
        (METER + "aggregation = 'max'\n", ["line 4: aggregation must be one of sum, count; it is 'max'"]),
        (METER + "aggregation = 'count'\nscale = 2\n", ["line 5: a meter that counts events has scale 0"]),
        (METER + "billing_window = 45\n", ["line 4: billing_window: '45' is no duration"]),
        (METER + "billing_window = '45M'\n", ["line 4: billing_window: '45M' is no duration"]),
        (METER + "horizon = 'PT1M'\n", ["line 4: horizon is shorter than billing_window"]),
        # Roll-up.
        (METER + "roll_up = 'PT7M'\n", ["line 4: roll_up must divide an hour and be at least PT1M"]),
        (METER + "roll_up = 'PT30S'\n", ["line 4: roll_up must divide an hour and be at least PT1M"]),
        (METER + "roll_up = 'PT2H'\n", ["line 4: roll_up must divide an hour and be at least PT1M"]),
        (METER + "roll_up = 'PT0S'\n", ["line 4: roll_up must divide an hour and be at least PT1M"]),
        (METER + "roll_up = 'PT75S'\n", ["line 4: roll_up must be whole minutes"]),
        # Stripe's names.
        (METER + "stripe_event_name = 1\n", ["line 4: stripe_event_name is a text, or a table"]),
        (METER + "stripe_event_name = {}\n", ["line 4: stripe_event_name is a text, or a table"]),
        (METER + "stripe_event_name = ''\n", ["line 4: '' is no Stripe event name"]),
        (METER + f"stripe_event_name = '{'x' * 101}'\n", [f"line 4: '{'x' * 101}' is no Stripe event name"]),
        (METER + "stripe_event_name = { gold = 'x_gold' }\n", ["line 4: stripe_event_name names the plan 'gold', which is not declared"]),
        (METER + "stripe_event_name.p = 1\n[plan.p]\n", ["line 4: the Stripe event name for plan 'p' must be a text"]),
        (METER + "[meter.y]\nstripe_event_name = 'x'\n", ["line 5: meters 'x' and 'y' both feed the Stripe event name 'x'"]),
        (
            METER + "[meter.y.stripe_event_name]\np = 'y_p'\nq = 'x'\n[plan.p]\n[plan.q]\n",
            ["line 4: meters 'x' and 'y' both feed the Stripe event name 'x'"],
        ),
        # Plans.
        (METER + "[plan.p]\nstripe_prices = 'price'\n", ["line 5: stripe_prices is a list"]),
        (METER + "[plan.p]\nstripe_prices = ['a', 1]\n", ["line 5: stripe_prices is a list"]),
        (METER + "[plan.p]\nstripe_prices = ['a', 'a']\n", ["line 5: stripe_prices names a price twice"]),
        (METER + "[plan.'']\n", ["line 4: '' is no name"]),
        # Policy.
        (METER + "policy = 1\n", ["line 4: unknown key meter.x.policy"]),
        ("policy = 1\n" + METER, ["line 1: policy must be a table"]),
        (METER + "[policy]\nbill_from = 2026-11-01T00:00:00\n", ["line 5: bill_from must be an instant with its offset"]),
        (METER + "[policy]\nbill_from = 2026-11-01\n", ["line 5: bill_from must be an instant with its offset"]),
        (METER + "[policy]\nbill_from = 'soon'\n", ["line 5: bill_from must be an instant with its offset"]),
        (METER + "[policy.plan_change]\nbefore_change = 'x'\n", ["line 5: before_change must be one of old_price, new_price, review"]),
        (METER + "[policy]\nlate = 'review'\n", ["line 5: late is a list of tables"]),
        (METER + "[[policy.late]]\nbelow_quantity = 1\n", ["line 4: a late rule needs `then`"]),
        (METER + "[[policy.late]]\nthen = 'accept'\nbelow_quantity = 0\n", ["line 6: below_quantity must be an integer from 1"]),
        (METER + "[[policy.late]]\nthen = 'charge-now'\n", ["line 5: then must be one of accept, charge-next, waive, review"]),
        (
            METER + "[[policy.late]]\nthen = 'accept'\n[[policy.late]]\nthen = 'review'\n",
            ["line 4: this rule fits everything: the ones after it are never asked"],
        ),
        # The period's last usage must reach its invoice.
        (METER + "billing_window = 'PT23H45M'\n", ["line 1: meter.x: billing_window + roll_up + close_margin is 86400 s"]),
        (METER + "[policy]\nfinalization_grace = 'PT1H'\n", ["line 1: meter.x: billing_window + roll_up + close_margin is 3600 s"]),
    ],
)
def test_refused(text: str, expected: list[str]) -> None:
    """Each fault stands alone, in a sentence, with its line."""
    found = faults(text)
    assert len(found) == len(expected), found
    for fault, beginning in zip(found, expected, strict=True):
        assert fault.startswith(beginning)


def test_just_inside_the_grace() -> None:
    """A second less is enough."""
    assert parse(METER + "billing_window = 'PT23H44M59S'\n").meters["x"].billing_window_seconds == 85_499


def test_every_fault_is_listed_in_the_order_of_lines() -> None:
    """One run of `check` shows all there is to mend."""
    spoilt = (
        COMPLETE.replace('"PT5M"', '"PT7M"')
        .replace("scale = 3", "scale = -3")
        .replace('"accept"', '"ignore"')
        .replace("[plan.pro]", "[plan.gold]")
    )
    found = faults(spoilt)
    assert [fault.split(":")[0] for fault in found] == ["line 8", "line 13", "line 20", "line 39"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            ('unit = "token"', 'unit = "character"'),
            ["meter.input_tokens: unit is 'token' and can't become 'character'"],
        ),
        (("scale = 3", "scale = 4"), ["meter.storage: scale is 3 and can't become 4"]),
        (
            ('aggregation = "count"', 'aggregation = "sum"'),
            ["meter.runs: aggregation is 'count' and can't become 'sum'"],
        ),
        (("PT45M", "PT50M"), []),
        (("[meter.storage]", "[meter.disk]"), []),
    ],
)
def test_succession(change: tuple[str, str], expected: list[str]) -> None:
    """What rows in the ledger rest on stays; windows may change and meters come and go."""
    found = check_succession(parse(COMPLETE), parse(COMPLETE.replace(*change)))
    assert [str(fault) for fault in found] == [f"{each}; declare a new meter" for each in expected]


def test_an_event_name_is_not_taken_over_in_another_unit_or_scale() -> None:
    """What Stripe adds up under one name is one sum; a meter that only has a new name of ours may keep it."""
    old = parse('[meter.tokens]\nunit = "token"\nscale = 2\nstripe_event_name = "shared"\n')
    words = '[meter.words]\nunit = "{}"\nscale = {}\nstripe_event_name = "shared"\n'
    assert check_succession(old, parse(words.format("token", 2))) == ()
    for unit, scale in (("word", 2), ("token", 3)):
        (fault,) = check_succession(old, parse(words.format(unit, scale)))
        assert str(fault) == (
            "meter.words: Stripe's event name 'shared' was that of meter 'tokens', which counts 'token' with scale 2;"
            " give it an event name of its own"
        )


def test_equal_texts_are_equal_catalogues() -> None:
    """Which is how the same version, read twice, is told from another one."""
    assert parse(COMPLETE) == parse(COMPLETE + "# a comment\n") != parse(COMPLETE.replace("PT45M", "PT46M"))
    assert isinstance(parse(COMPLETE), Catalogue)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT45M", 2700), ("P34D", 2_937_600), ("PT24H", 86_400), ("P1DT1H1M1S", 90_061), ("P2W", 1_209_600), ("PT0S", 0), ("PT90M", 5400)],
)
def test_durations(text: str, seconds: int) -> None:
    """ISO 8601 of fixed length."""
    assert seconds_of(text) == seconds
    assert seconds_of(duration_text(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "P", "PT", "P1DT", "P1M", "P1Y", "PT1.5H", "-PT1H", "pt1h", "PT1H ", "1H", "P1W2D", "PT1M1H", "PT١M"])
def test_no_durations(text: str) -> None:
    """Months and years have no fixed length; the rest is no ISO 8601."""
    with pytest.raises(ValueError, match="is no duration"):
        seconds_of(text)


@pytest.mark.parametrize(("seconds", "text"), [(0, "PT0S"), (2700, "PT45M"), (86_400, "P1D"), (90_061, "P1DT1H1M1S")])
def test_duration_text(seconds: int, text: str) -> None:
    """Written in the largest parts that fit."""
    assert duration_text(seconds) == text
