import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.access.caller import Scope
from app.access.service import ApiKeyService
from app.settings import Settings
from nern_core.contract.options import EncodeOptions
from tests.app.conftest import serving
from tests.conftest import DIGITS

ADDRESSES = ["/architectures", "/recipes", "/datasets", "/options/schema"]


def test_the_architectures_are_listed_with_what_is_represented_of_them(embedded_client: TestClient) -> None:
    found = {item["name"]: item for item in embedded_client.get("/architectures").json()["items"]}
    assert found["digits-cnn"] == {
        "name": "digits-cnn",
        "input_size": 8,
        "classes": 10,
        "parameters": 57130,
        "represented": {
            "spatial": {"tensors": 3, "weights": 56160, "kernel_shapes": [[3, 3]]},
            "all": {"tensors": 3, "weights": 56160, "kernel_shapes": [[3, 3]]},
        },
    }
    assert "torchvision:resnet18" in found


def test_the_recipes_are_listed_with_their_budgets(embedded_client: TestClient) -> None:
    items = embedded_client.get("/recipes").json()["items"]
    assert [(item["name"], item["default_seconds"], item["default_steps"]) for item in items] == [
        ("fast", 150, None),
        ("paper", None, 68_600),
        ("data-free", 300, None),
    ]


def offering(settings: Settings, *roots: Path) -> Settings:
    return settings.model_copy(update={"dataset_roots": roots})


def test_the_data_sets_below_the_roots_are_listed_as_jobs_name_them(embedded: Settings, tmp_path: Path) -> None:
    root = tmp_path / "offered"
    shutil.copytree(DIGITS, root / "small" / "digits")
    (root / "half").mkdir()
    (root / "half" / "train.npz").touch()
    with serving(offering(embedded, root, DIGITS.parent)) as client:
        found = client.get("/datasets").json()
    assert found["any_folder"] is False
    assert [item["name"] for item in found["items"]] == ["digits", "small/digits"]
    assert found["items"][0]["train"] == {
        "bytes": (DIGITS / "train.npz").stat().st_size,
        "images": 1297,
        "shape": [8, 8, 3],
    }


def test_links_out_of_the_roots_and_deep_folders_are_not_offered(embedded: Settings, tmp_path: Path) -> None:
    root = tmp_path / "offered"
    shutil.copytree(DIGITS, root / "a" / "b" / "c" / "d")
    (root / "link").symlink_to(DIGITS, target_is_directory=True)
    with serving(offering(embedded, root)) as client:
        assert client.get("/datasets").json()["items"] == []


def test_a_file_that_does_not_tell_its_images_is_listed_with_its_size(embedded: Settings, tmp_path: Path) -> None:
    root = tmp_path / "offered" / "odd"
    root.mkdir(parents=True)
    for split in ("train", "test"):
        (root / f"{split}.npz").write_bytes(b"no archive")
    with serving(offering(embedded, root.parent)) as client:
        assert client.get("/datasets").json()["items"][0]["test"] == {"bytes": 10, "images": None, "shape": None}


def test_without_roots_the_embedded_mode_takes_any_folder(embedded_client: TestClient) -> None:
    assert embedded_client.get("/datasets").json() == {"items": [], "any_folder": True}


def test_the_schema_of_the_options_has_all_of_them_with_their_defaults(embedded_client: TestClient) -> None:
    answer = embedded_client.get("/options/schema")
    assert answer.headers["Content-Type"] == "application/schema+json"
    schema = answer.json()
    assert set(schema["properties"]) == set(EncodeOptions.model_fields)
    assert schema["properties"]["rounds"]["default"] == 1
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_catalogue_needs_a_key_that_is_good_for_reading(
    with_keys: Settings, keys: ApiKeyService, address: str
) -> None:
    reading, writing = (keys.create("acme", [scope]).reveal() for scope in (Scope.READ, Scope.WRITE))
    with serving(with_keys) as client:
        answers = [
            client.get(address, headers={"Authorization": f"Bearer {key}"} if key else {}).status_code
            for key in (None, writing, reading)
        ]
    assert answers == [401, 403, 200]
