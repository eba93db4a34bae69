"""The networks of `bench.ten_networks`, with fewer steps; NERN_TEST_PACKAGES may name a folder with their packages."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.network_zoo import ZOO, ZooEntry
from bench.three_ways import WAYS, Places, go, places
from bench.wholeness import examine
from bench.zoo_network import MissingPart, ZooNetwork

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
OPTIONS: dict[str, Any] = {"steps": 3, "target_ratio": 6.0}


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    with places(tmp_path_factory.mktemp("zoo")) as found:
        yield found


@pytest.fixture(scope="module", params=ZOO, ids=lambda entry: entry.name)
def network(request: pytest.FixtureRequest, where: Places, tmp_path_factory: pytest.TempPathFactory) -> ZooNetwork:
    entry: ZooEntry = request.param
    try:
        return entry.make(tmp_path_factory.mktemp("network"), Path(os.environ.get("NERN_TEST_PACKAGES", "packages")))
    except MissingPart as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("way", WAYS)
def test_a_network_of_any_kind_comes_back_whole(way: str, network: ZooNetwork, where: Places, tmp_path: Path) -> None:
    outcome = go(way, network, tmp_path / way, OPTIONS, where)
    assert examine(network, outcome).faults == ()
