"""The real Prometheus on the real street, with the rules and the dashboard that are delivered: every expression answers."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from devstack.places import LOOPBACK, free_port
from devstack.process import Command, spawn, wait_until
from devstack.prometheus import prometheus_folder
from tests.makers.street_of_test import StreetOfTest

DEPLOY = Path(__file__).parents[3] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
DASHBOARD = DEPLOY / "grafana" / "billing.json"
EMPTY_WHEN_HEALTHY = "Empty when healthy."
SEEN_SECONDS = 90
_METRIC = re.compile(r"\btrueup_[a-z_]+")


class Watcher:
    """A Prometheus that scrapes a street each second."""

    def __init__(self, folder: Path, said: dict[str, Any]) -> None:
        """Starts it."""
        targets = [
            {"targets": [url.removeprefix("http://").partition("/")[0]], "labels": {"part": part}} for part, url in said["metrics"].items()
        ]
        (folder / "targets.json").write_text(json.dumps(targets))
        (folder / "rules.yml").write_text(RULES.read_text())
        settings = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
        self.port = free_port()
        program = str(prometheus_folder() / "prometheus")
        options = (f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}")
        self.process = spawn(Command((program, *options, f"--web.listen-address={LOOPBACK}:{self.port}")), folder / "prometheus.log")

    def ask(self, path: str, **parameters: str) -> Any:
        """One question of its HTTP API; an expression it does not understand fails the test."""
        answer = requests.get(f"http://{LOOPBACK}:{self.port}/api/v1/{path}", params=parameters, timeout=10)
        assert answer.ok, f"{parameters}: {answer.text}"
        return answer.json()["data"]

    def values(self, expression: str) -> list[Any]:
        """What an expression gives at this moment."""
        result: list[Any] = self.ask("query", query=expression.replace("$__rate_interval", "20s"))["result"]
        return result

    def is_ready(self) -> bool:
        """It answers, and has scraped every target."""
        try:
            # While it reads its folder it answers 503.
            if not requests.get(f"http://{LOOPBACK}:{self.port}/-/ready", timeout=10).ok:
                return False
            active = self.ask("targets")["activeTargets"]
        except requests.ConnectionError:
            return False
        return bool(active) and all(target["health"] == "up" for target in active)


@pytest.fixture
def watcher(system_street: StreetOfTest, tmp_path: Path) -> Iterator[Watcher]:
    """Ends with the test."""
    made = Watcher(tmp_path, system_street.said)
    try:
        assert wait_until(made.is_ready, 60, 0.5), (tmp_path / "prometheus.log").read_text()[-3_000:]
        yield made
    finally:
        made.process.terminate()
        made.process.wait(20)


def panels() -> list[dict[str, Any]]:
    """Those of the dashboard that ask something."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    """The alerts."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.timeout(600)
def test_every_panel_and_every_alert_of_a_healthy_street(system_street: StreetOfTest, watcher: Watcher) -> None:
    """Panels show data, unless they say that a healthy street leaves them empty; no alert fires; no metric is misspelt."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    lines = [
        json.dumps({"id": f"w-{number}", "source": "watched", "customer": "acme", "meter": "input_tokens", "value": 5, "time": now})
        for number in range(50)
    ]
    assert system_street.trueup("events", "send", "-", stdin="\n".join(lines))["accepted"] == 50
    counted = 'sum(trueup_events_total{room="stripe_sink",outcome="on_time"})'
    assert wait_until(lambda: [float(row["value"][1]) for row in watcher.values(counted)] == [50.0], SEEN_SECONDS, 1)

    asked = {target["expr"]: panel for panel in panels() for target in panel["targets"]}
    must_show = {expression for expression, panel in asked.items() if EMPTY_WHEN_HEALTHY not in panel["description"]}
    assert wait_until(lambda: all(watcher.values(expression) for expression in must_show), SEEN_SECONDS, 1), [
        expression for expression in must_show if not watcher.values(expression)
    ]
    for expression in asked:
        watcher.values(expression)
    # An alert's expression is declared empty where all is well. On a street this young no webhook has come, which pages after hours.
    alerts = {rule["alert"]: rule["expr"] for rule in rules()}
    assert wait_until(lambda: alarmed(watcher) <= {"TrueupWebhookNever"}, SEEN_SECONDS, 1), alarmed(watcher)
    known = set(watcher.ask("label/__name__/values")) | declared(system_street)
    used = {name for text in (*asked, *alerts.values()) for name in _METRIC.findall(text)}
    assert used <= known, used - known
    states = {alert["labels"]["alertname"]: alert["state"] for alert in watcher.ask("alerts")["alerts"]}
    assert "firing" not in states.values(), states


def alarmed(watcher: Watcher) -> set[str]:
    """The alerts whose expression gives something now."""
    return {str(rule["alert"]) for rule in rules() if watcher.values(rule["expr"])}


def declared(street: StreetOfTest) -> set[str]:
    """Every metric that a room's page has a TYPE line for, with or without a sample."""
    pages = [requests.get(url, timeout=10).text for url in street.said["metrics"].values()]
    return {line.split()[2] for page in pages for line in page.splitlines() if line.startswith("# TYPE trueup_")}


@pytest.mark.timeout(600)
def test_a_room_that_is_killed_is_seen(system_street: StreetOfTest, watcher: Watcher) -> None:
    """The alert about rooms goes to pending within seconds, and names the room."""
    rows = system_street.trueup("status")
    (reconciler,) = [row for row in rows if row["name"] == "reconciler"]
    subprocess.run(["kill", "-STOP", str(reconciler["pid"])], check=True)
    try:

        def pending() -> bool:
            alerts = watcher.ask("alerts")["alerts"]
            return any(alert["labels"] == alert["labels"] | {"alertname": "TrueupRoomDown", "part": "reconciler"} for alert in alerts)

        assert wait_until(pending, SEEN_SECONDS, 1), watcher.ask("alerts")
    finally:
        subprocess.run(["kill", "-CONT", str(reconciler["pid"])], check=True)
