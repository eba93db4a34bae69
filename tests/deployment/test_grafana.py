import json
import re
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from app.settings import Settings
from tests.app.conftest import serving
from tests.conftest import ROOT

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "nern.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
SUFFIXES = re.compile(r"_(bucket|count|sum)$")


def test_every_metric_of_the_dashboard_exists(embedded: Settings) -> None:
    with serving(embedded) as client:
        families = list(text_string_to_metric_families(client.get("/metrics").text))
    there = {family.name + "_total" * (family.type == "counter") for family in families}
    asked = {name for query in QUERIES for name in re.findall(r"\b(?:nern|process)_[a-z_]+", query)}
    assert {SUFFIXES.sub("", name) for name in asked} - there == set()
    assert len(asked) > 10


def test_every_metric_of_the_service_is_on_the_dashboard(embedded: Settings) -> None:
    with serving(embedded) as client:
        families = list(text_string_to_metric_families(client.get("/metrics").text))
    own = {family.name for family in families if family.name.startswith("nern_")}
    assert {name for name in own if not any(name in query for query in QUERIES)} == {"nern_build_info"}


def test_the_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(ids) == len(set(ids))
    assert len(cells) == len(set(cells))
