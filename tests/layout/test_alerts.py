"""Alert rules ask for numbers that the platform has, and each is explained in both languages under its name."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunesmith.lifecycle import State
from tunesmith.notifications import DeliveryState
from tunesmith_platform.monitoring.gauges import (
    BY_STATE,
    BY_WORKER,
    GAUGES,
    WORKER_LABELS,
    Sample,
    exposition,
)

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "infra" / "alerts" / "tunesmith.yml"
RULES: list[dict[str, Any]] = yaml.safe_load(FILE.read_text())["groups"][0]["rules"]
OF_PROMETHEUS = {"up"}
_WORDS = re.compile(r"\b(?:tunesmith_\w+|up)\b")


def scraped() -> str:
    """What `/metrics` answers when there is a number of every kind."""
    workers = [Sample(name, ("t", "0", "n", "0"), 1.0) for name in BY_WORKER]
    states = {name: {"failed": 1, "running": 1} for name in BY_STATE}
    return exposition("1", dict.fromkeys(GAUGES, 1.0), states, workers)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_a_rule_asks_for_what_there_is_and_is_explained(rule: dict[str, Any]) -> None:
    names = set(_WORDS.findall(rule["expr"])) - OF_PROMETHEUS
    there = set(re.findall(r"^(tunesmith_\w+)[{ ]", scraped(), re.MULTILINE))
    assert names <= there, "a number that the platform does not have never alerts"
    for value in re.findall(r'state="(\w+)"', rule["expr"]):
        assert value in {*State, *DeliveryState}
    for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
        assert label in {*WORKER_LABELS, "instance", "state"}
    assert rule["labels"]["severity"] in ("warning", "critical")
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor == rule["alert"].lower()
    for language in ("en", "zh"):
        text = (ROOT / page.replace("/en/", f"/{language}/")).read_text()
        assert re.search(rf"^### {rule['alert']}\n\n\S", text, re.MULTILINE), language


def test_a_page_explains_no_alert_that_is_not_there() -> None:
    text = (ROOT / "platform" / "guide" / "en" / "operate.md").read_text()
    assert re.findall(r"^### (\w+)", text, re.MULTILINE) == [rule["alert"] for rule in RULES]
