"""`nern evaluate` and `nern importance` with folders of the hub."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nern_core.contract.options import EncodeOptions
from nern_core.encoder import encode
from tests.nern_cli.test_main import nern

pytest.importorskip("transformers")

from tests.transformers_folders import BERT, GPT2, LINES, folder_of, network_of  # needs the extra

CLASSIFIER: dict[str, Any] = {**BERT, "architectures": ["BertForSequenceClassification"], "num_labels": 3}
AUTO = ("--architecture", "transformers:auto")


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "gpt2", network_of(GPT2), GPT2)


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "classifier", network_of(CLASSIFIER), CLASSIFIER)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(LINES))
    return path


def labelled(path: Path, network: nn.Module, right: int) -> Path:
    """Write 40 examples; `right` labels are the answers of the network."""
    ids = np.random.default_rng(0).integers(0, 32, (40, 6))
    with torch.no_grad():
        answers = network(input_ids=torch.from_numpy(ids)).logits.argmax(1).numpy()
    wrong = np.random.default_rng(1).permutation(40)[right:]
    answers[wrong] = (answers[wrong] + 1) % 3
    arrays: dict[str, Any] = {"inputs.input_ids": ids, "labels": answers}
    np.savez(path, **arrays)
    return path


def evaluated(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert nern(monkeypatch, "evaluate", *map(str, arguments), "--json") == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_a_causal_language_model_has_a_perplexity(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], gpt2: Path, lines: Path, tmp_path: Path
) -> None:
    options = EncodeOptions(architecture="transformers:auto", dataset=str(lines), steps=2, target_ratio=4)
    fidelity = encode(gpt2, tmp_path / "gpt2.nern", options).report.metrics.fidelity
    assert fidelity is not None
    found = evaluated(monkeypatch, capsys, gpt2, "--dataset", lines)
    assert found == {"perplexity": fidelity.original_perplexity}
    # The decoded folder needs the tokenizer of the original.
    assert nern(monkeypatch, "reconstruct", str(tmp_path / "gpt2.nern"), "-o", str(tmp_path / "decoded")) == 0
    assert "holds no tokenizer and no generation_config.json; copy them" in " ".join(capsys.readouterr().err.split())
    shutil.copy(gpt2 / "tokenizer.json", tmp_path / "decoded")
    capsys.readouterr()
    found = evaluated(monkeypatch, capsys, tmp_path / "decoded", *AUTO, "--dataset", lines)
    assert found["perplexity"] == pytest.approx(fidelity.reconstructed_perplexity, rel=1e-5)


@pytest.mark.parametrize("right", [0, 40])
def test_a_classifier_has_an_accuracy_also_as_an_encoding(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    classifier: Path,
    tmp_path: Path,
    right: int,
) -> None:
    data = labelled(tmp_path / "data.npz", network_of(CLASSIFIER), right)
    encode(classifier, tmp_path / "x.nern", EncodeOptions(architecture="transformers:auto"))
    for weights in (classifier, tmp_path / "x.nern"):
        found = evaluated(monkeypatch, capsys, weights, "--dataset", data)
        assert found == {"accuracy": 2.5 * right}


def test_a_network_without_labels_is_compared_by_a_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], classifier: Path, lines: Path
) -> None:
    assert nern(monkeypatch, "evaluate", str(classifier), "--dataset", str(lines)) == 9
    assert "has none; `nern report` compares the outputs" in capsys.readouterr().err


def test_an_encoding_without_a_tokenizer_takes_no_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], gpt2: Path, lines: Path, tmp_path: Path
) -> None:
    encode(gpt2, tmp_path / "x.nern", EncodeOptions(architecture="transformers:auto"))
    assert nern(monkeypatch, "evaluate", str(tmp_path / "x.nern"), "--dataset", str(lines)) == 9
    assert "'x.nern' has no tokenizer for text; decode it into a folder, copy the original's" in capsys.readouterr().err


def test_importance_is_measured_without_data_and_refused_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], gpt2: Path, lines: Path, tmp_path: Path
) -> None:
    encode(gpt2, tmp_path / "x.nern", EncodeOptions(architecture="transformers:auto"))
    arguments = ["importance", str(gpt2), str(tmp_path / "x.nern"), "-o", str(tmp_path / "found")]
    assert nern(monkeypatch, *arguments, "--dataset", str(lines)) == 9
    sentence = "measured with labelled images, which 'transformers:auto' does not take; omit the data set."
    assert sentence in capsys.readouterr().err
    assert nern(monkeypatch, *arguments) == 0
    assert (tmp_path / "found" / "importance.json").exists()
