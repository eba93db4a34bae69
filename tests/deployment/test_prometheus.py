import re
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.settings import Settings
from tests.app.conftest import serving
from tests.conftest import ROOT

FILE = ROOT / "deploy" / "prometheus" / "alerts.yaml"
RULES: list[dict[str, Any]] = [rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]]


def test_every_metric_of_the_alerts_exists(embedded: Settings) -> None:
    with serving(embedded) as client:
        families = list(text_string_to_metric_families(client.get("/metrics").text))
    there = {family.name + "_total" * (family.type == "counter") for family in families}
    asked = {name for rule in RULES for name in re.findall(r"\bnern_[a-z_]+", rule["expr"])}
    assert asked - there == set()
    assert len(asked) > 5


def test_every_alert_says_how_urgent_it_is_and_what_is_wrong() -> None:
    assert {rule["labels"]["severity"] for rule in RULES} == {"page", "ticket"}
    assert all(rule["annotations"]["summary"].endswith(".") for rule in RULES)
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
