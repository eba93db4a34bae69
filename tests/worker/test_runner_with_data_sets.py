"""Jobs with data sets that tenants send: arrays for any network, and images without labels."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from nern_core.contract.options import EncodeOptions
from nern_core.contract.report import Report
from tests.conftest import DIGITS, EXAMPLE
from tests.worker.in_process import RunHere
from worker.folder import RunFolder

with np.load(DIGITS / "test.npz") as file:
    IMAGES, LABELS = file["images"][:80], file["labels"][:80].astype(np.int64)
INPUTS = ((IMAGES / np.float32(255) - np.float32(0.5)) / np.float32(0.5)).transpose(0, 3, 1, 2).copy()
DATASETS = {
    "arrays": {"inputs": INPUTS},
    "labelled arrays": {"inputs": INPUTS, "labels": LABELS},
    "images": {"train.images": IMAGES[:60], "test.images": IMAGES[60:]},
}


@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.parametrize("name", ["mine", "mine.tar"])
def test_a_data_set_of_every_kind_trains_and_measures(tmp_path: Path, run_here: RunHere, kind: str, name: str) -> None:
    options = EncodeOptions(architecture="digits-cnn", dataset=name, steps=3, target_ratio=8)
    ended = run_here(options, EXAMPLE.read_bytes(), {name: safetensors.numpy.save(DATASETS[kind])})
    assert ended.status == 0, ended.lines[-1]
    report = Report.model_validate_json((RunFolder(tmp_path).results / "report.json").read_bytes())
    assert report.metrics.fidelity is not None
    assert report.metrics.fidelity.examples > 0
    assert (report.metrics.original_accuracy is not None) == (kind == "labelled arrays")
