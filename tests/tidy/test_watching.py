"""Alerts, their runbook pages, their stories and the dashboard belong together; what is generated is what the generator writes."""

from __future__ import annotations

import json
import runpy
import subprocess
from typing import Any

import promql_parser
import yaml

from devstack.prometheus import prometheus_folder
from tests.tidy.source import REPOSITORY

PROMETHEUS = REPOSITORY / "deploy" / "prometheus"
GRAFANA = REPOSITORY / "deploy" / "grafana"
RUNBOOK = REPOSITORY / "docs" / "runbook"


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"] for rule in group["rules"]]


def test_each_alert_has_its_runbook_page_its_story_and_a_severity() -> None:
    """No page without an alert either: what was dropped is not looked up at night."""
    names = {rule["alert"] for rule in rules()}
    assert names
    assert {page.stem for page in RUNBOOK.glob("*.md")} == names
    for rule in rules():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook/{rule['alert']}.md"
        assert rule["labels"]["severity"] in {"page", "ticket"}
    stories = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
    told = {(case["alertname"], bool(case["exp_alerts"])) for story in stories for case in story["alert_rule_test"]}
    assert told == {(name, fires) for name in names for fires in (False, True)}


def test_the_dashboard_is_what_its_generator_writes() -> None:
    """Edit deploy/grafana/generate.py and run `make dashboards`."""
    written = runpy.run_path(str(GRAFANA / "generate.py"))["build"]()
    assert (GRAFANA / "billing.json").read_text() == written


def test_every_panel_asks_something_that_parses_and_says_what_to_do() -> None:
    """The parser also refuses what Prometheus would only refuse when asked, such as rate() of an instant."""
    panels = [panel for panel in json.loads((GRAFANA / "billing.json").read_text())["panels"] if panel["type"] != "row"]
    for panel in panels:
        assert panel["description"].endswith(".")
        for target in panel["targets"]:
            promql_parser.parse(target["expr"].replace("$__rate_interval", "1m"))
    named = {word.strip(".") for panel in panels for word in panel["description"].split() if word.startswith("Trueup")}
    assert named and named <= {page.stem for page in RUNBOOK.glob("*.md")}


def test_promtool_takes_configuration_rules_and_their_stories() -> None:
    """The real promtool; a story that does not come true fails it."""
    promtool = str(prometheus_folder() / "promtool")
    for arguments in (("check", "config", "prometheus.yml"), ("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")):
        done = subprocess.run((promtool, *arguments), cwd=PROMETHEUS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
