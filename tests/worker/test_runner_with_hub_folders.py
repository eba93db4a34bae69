"""The runner with archives of folders of the hub, whose configuration describes the network."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from nern_core.contract.options import EncodeOptions
from nern_core.contract.report import Report
from tests.dataset_files import safetensors_file
from tests.hub_folders import zipped
from tests.worker.in_process import RunHere
from worker.folder import RunFolder

pytest.importorskip("transformers")


@pytest.mark.slow
def test_an_archive_of_a_folder_brings_its_network(tmp_path: Path, run_here: RunHere) -> None:
    from tests.transformers_folders import GPT2, folder_of, network_of

    folder = folder_of(tmp_path / "gpt2", network_of(GPT2), GPT2)
    ids = np.random.default_rng(0).integers(0, 32, (48, 8))
    arrays = {"inputs.input_ids": ids, "inputs.attention_mask": np.ones_like(ids)}
    options = EncodeOptions(architecture="transformers:auto", dataset="mine", steps=2, target_ratio=4)
    ended = run_here(options, zipped(folder).read_bytes(), {"mine": safetensors.numpy.save(arrays)})
    assert ended.status == 0, ended.lines[-1]
    report = Report.model_validate_json((RunFolder(tmp_path).results / "report.json").read_bytes())
    assert report.metrics.fidelity is not None
    assert report.metrics.fidelity.original_perplexity is not None


@pytest.mark.slow
def test_text_lines_are_divided_by_the_tokenizer_in_the_archive(tmp_path: Path, run_here: RunHere) -> None:
    from tests.transformers_folders import GPT2, LINES, folder_of, network_of

    folder = folder_of(tmp_path / "gpt2", network_of(GPT2), GPT2)
    text = "\n".join(LINES).encode()
    lines = safetensors_file({"text": ("U8", (len(text),))}, data=text)
    options = EncodeOptions(architecture="transformers:auto", dataset="lines", steps=2, target_ratio=4)
    ended = run_here(options, zipped(folder).read_bytes(), {"lines": lines})
    assert ended.status == 0, ended.lines[-1]
    report = Report.model_validate_json((RunFolder(tmp_path).results / "report.json").read_bytes())
    assert report.metrics.fidelity is not None
    assert report.metrics.fidelity.original_perplexity is not None
    (folder / "tokenizer.json").unlink()
    without = run_here(options, zipped(folder).read_bytes())
    assert without.error["code"] == "no_tokenizer"
