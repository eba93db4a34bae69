"""Networks of transformers, built from the configuration in a folder of the hub alone."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from nern_core.analysis.comparison import open_comparison
from nern_core.analysis.report.files import measure_comparison
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions
from nern_core.encoder import encode
from nern_core.formats.hub_folder import named_architecture
from nern_core.networks.fidelity import compare_networks
from nern_core.networks.input_batch import InputBatch
from nern_core.networks.input_set import InputSet
from nern_core.networks.transformers_models.network import HubNetwork, build_hub_network
from nern_core.tensors.checkpoint import read_checkpoint

pytest.importorskip("transformers")

from tests.transformers_folders import BERT, GPT2, LINES, changed, folder_of, network_of  # needs the extra

IDS = torch.arange(24).reshape(2, 12)


@pytest.fixture(scope="module")
def bert() -> nn.Module:
    return network_of(BERT)


@pytest.fixture(scope="module")
def gpt2() -> nn.Module:
    return network_of(GPT2)


@pytest.fixture
def bert_folder(tmp_path: Path, bert: nn.Module) -> Path:
    return folder_of(tmp_path / "bert", bert, BERT)


@pytest.fixture
def gpt2_folder(tmp_path: Path, gpt2: nn.Module) -> Path:
    return folder_of(tmp_path / "gpt2", gpt2, GPT2)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(LINES))
    return path


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    path = tmp_path / "ids.npz"
    ids = np.random.default_rng(0).integers(0, 32, (64, 8))
    named: dict[str, Any] = {"inputs.input_ids": ids, "inputs.attention_mask": np.ones_like(ids)}
    np.savez(path, **named)
    return path


def built(folder: Path, name: str = "auto") -> HubNetwork:
    read = read_checkpoint(folder)
    return build_hub_network(f"transformers:{name}", read.config, read.tensors)


def outputs_of(network: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = network(input_ids=IDS)[0]
    return found


def test_the_network_that_the_configuration_names_has_the_outputs_of_the_original(
    bert_folder: Path, bert: nn.Module
) -> None:
    found = built(bert_folder)
    assert type(found.network) is type(bert)
    assert torch.equal(outputs_of(found.network), outputs_of(bert))


def test_a_tensor_that_the_network_shares_is_given_once(gpt2_folder: Path, gpt2: nn.Module) -> None:
    assert "lm_head.weight" not in read_checkpoint(gpt2_folder).tensors
    found = built(gpt2_folder)
    assert torch.equal(outputs_of(found.network), outputs_of(gpt2))
    state = found.network.state_dict(keep_vars=True)
    assert state["lm_head.weight"] is state["transformer.wte.weight"]


def test_different_values_for_the_names_of_a_shared_tensor_are_both_used(gpt2_folder: Path) -> None:
    tensors = read_checkpoint(gpt2_folder).tensors
    save_file({**tensors, "lm_head.weight": 2 * tensors["transformer.wte.weight"]}, gpt2_folder / "model.safetensors")
    state = built(gpt2_folder).network.state_dict()
    assert torch.equal(state["lm_head.weight"], 2 * state["transformer.wte.weight"])


def test_a_class_that_the_architecture_names_comes_before_that_of_the_configuration(bert_folder: Path) -> None:
    changed(bert_folder, architectures=["BertForMaskedLM"])
    assert type(built(bert_folder, "BertModel").network).__name__ == "BertModel"


def test_encoding_text_lines_measures_the_outputs(bert_folder: Path, lines: Path, tmp_path: Path) -> None:
    options = EncodeOptions(architecture="transformers:auto", dataset=str(lines), steps=3, target_ratio=6)
    metrics = encode(bert_folder, tmp_path / "bert.nern", options).report.metrics
    assert metrics.fidelity is not None
    assert [output.name for output in metrics.fidelity.outputs] == ["last_hidden_state", "pooler_output"]
    assert metrics.fidelity.original_perplexity is None
    assert 0 < metrics.fidelity.relative_error < 1


def test_encoding_a_causal_language_model_measures_the_perplexity(
    gpt2_folder: Path, gpt2: nn.Module, tmp_path: Path
) -> None:
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 32, (1, 9)))
    # A single batch of a single example is trained on and measured.
    save_file({"inputs.input_ids": ids, "inputs.attention_mask": torch.ones_like(ids)}, tmp_path / "one.safetensors")
    options = EncodeOptions(
        architecture="transformers:auto", dataset=str(tmp_path / "one.safetensors"), steps=2, target_ratio=4
    )
    fidelity = encode(gpt2_folder, tmp_path / "gpt2.nern", options).report.metrics.fidelity
    with torch.no_grad():
        expected = gpt2(input_ids=ids, labels=ids).loss.exp().item()
    assert fidelity is not None
    assert fidelity.original_perplexity == pytest.approx(expected, rel=1e-4)
    assert fidelity.reconstructed_perplexity is not None
    assert fidelity.agreement is not None


def test_batches_in_memory_replace_a_data_set(bert_folder: Path, tmp_path: Path) -> None:
    batches = [{"input_ids": IDS}, {"input_ids": IDS + 1}]
    options = EncodeOptions(architecture="transformers:auto", steps=2, target_ratio=6)
    fidelity = encode(bert_folder, tmp_path / "bert.nern", options, inputs=batches).report.metrics.fidelity
    assert fidelity is not None
    assert fidelity.examples == 1


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_lines_of_different_lengths_are_compared_as_each_one_alone(kind: str, request: pytest.FixtureRequest) -> None:
    original: nn.Module = request.getfixturevalue(kind)
    changed = copy.deepcopy(original)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in changed.parameters():
            tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=0.1)
    ids = torch.arange(16).reshape(2, 8)
    mask = torch.tensor([[1] * 8, [1] * 3 + [0] * 5])
    together = [InputBatch({"input_ids": ids, "attention_mask": mask})]
    alone = [InputBatch({"input_ids": ids[:1]}), InputBatch({"input_ids": ids[1:, :3]})]
    inputs = InputSet(tuple(together), tuple(together))
    reader = inputs.reader(original)
    found, expected = (compare_networks(original, changed, batches, reader).fidelity for batches in (together, alone))
    assert [output.name for output in found.outputs] == [output.name for output in expected.outputs]
    for output, other in zip(found.outputs, expected.outputs, strict=True):
        assert output.relative_error == pytest.approx(other.relative_error, rel=1e-4)
    assert found.agreement == expected.agreement


def test_a_tensor_that_the_network_lacks_is_kept_exactly(bert_folder: Path, arrays: Path, tmp_path: Path) -> None:
    tensors = read_checkpoint(bert_folder).tensors
    other = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    save_file({**tensors, "cls.weight": other}, bert_folder / "model.safetensors")
    options = EncodeOptions(architecture="transformers:auto", dataset=str(arrays), steps=2, target_ratio=6)
    result = encode(bert_folder, tmp_path / "bert.nern", options)
    assert torch.equal(result.comparison.decoded.tensors["cls.weight"], other)
    assert "1 tensor that the network does not have is kept, such as 'cls.weight'." in result.report.metrics.notes


def test_a_report_on_the_files_measures_the_same(bert_folder: Path, lines: Path, tmp_path: Path) -> None:
    options = EncodeOptions(architecture="transformers:auto", dataset=str(lines), steps=2, target_ratio=6)
    report = encode(bert_folder, tmp_path / "bert.nern", options).report
    again = measure_comparison(open_comparison(bert_folder, tmp_path / "bert.nern"), dataset=lines)
    assert again.report.metrics.fidelity == report.metrics.fidelity


def test_the_class_of_a_folder_is_known_without_torch(bert_folder: Path) -> None:
    assert named_architecture(bert_folder) == "BertModel"
    (bert_folder / "config.json").unlink()
    assert named_architecture(bert_folder) is None


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ({"architectures": ["Evil"], "auto_map": {"AutoModel": "modeling.Evil"}}, "unknown_architecture"),
        ({"architectures": ["PreTrainedModel"]}, "unknown_architecture"),
        ({"architectures": ["os"]}, "unknown_architecture"),
        ({"architectures": ["TimmWrapperModel"]}, "unknown_architecture"),
        ({"architectures": "BertModel"}, "bad_config"),
        ({"architectures": [3]}, "bad_config"),
        ({"hidden_size": 10**9}, "bad_config"),
        ({"hidden_size": 2**20}, "bad_config"),
        ({"num_hidden_layers": 10**6}, "bad_config"),
        ({"num_hidden_layers": 10**5}, "bad_config"),
        ({"vocab_size": 2**24}, "bad_config"),
        ({"num_labels": 10**7}, "bad_config"),
        ({"hidden_size": "32"}, "bad_config"),
        ({"hidden_size": [32]}, "bad_config"),
        ({"num_attention_heads": 0}, "bad_config"),
        ({"hidden_act": "no such"}, "bad_config"),
        ({"hidden_size": -1}, "bad_config"),
        ({"backbone": "hf-hub:someone/something"}, "bad_config"),
        ({"nested": json.loads('{"a": ' * 13 + "1" + "}" * 13)}, "bad_config"),
        ({"model_type": {"a": 1}}, "bad_config"),
        ({"model_type": ["bert"]}, "bad_config"),
        ({"hidden_size": 64}, "architecture_mismatch"),
        ({"num_hidden_layers": 3}, "architecture_mismatch"),
    ],
)
def test_a_hostile_configuration_ends_with_one_sentence(bert_folder: Path, entries: dict[str, Any], code: str) -> None:
    changed(bert_folder, **entries)
    with pytest.raises(NernError) as error:
        built(bert_folder)
    assert error.value.code == code
    assert error.value.message.endswith(".")
    assert "\n" not in error.value.message


def test_code_that_a_configuration_names_does_not_run(bert_folder: Path, bert: nn.Module) -> None:
    (bert_folder / "modeling.py").write_text(f"open({str(bert_folder / 'ran')!r}, 'w')\nclass Evil: pass\n")
    changed(bert_folder, auto_map={"AutoModel": "modeling.Evil", "AutoConfig": "modeling.Evil"})
    assert torch.equal(outputs_of(built(bert_folder).network), outputs_of(bert))
    assert not (bert_folder / "ran").exists()


def test_a_file_without_a_configuration_is_refused(bert_folder: Path) -> None:
    read = read_checkpoint(bert_folder / "model.safetensors")
    with pytest.raises(NernError, match=r"needs a folder with the config\.json") as error:
        build_hub_network("transformers:auto", read.config, read.tensors)
    assert error.value.code == "no_config"


@pytest.mark.parametrize(
    ("content", "code"), [(None, "no_tokenizer"), ("{}", "bad_tokenizer"), ("[" * 10_000, "bad_tokenizer")]
)
def test_text_needs_a_tokenizer(bert_folder: Path, lines: Path, tmp_path: Path, content: str | None, code: str) -> None:
    (bert_folder / "tokenizer.json").unlink()
    if content is not None:
        (bert_folder / "tokenizer.json").write_text(content)
    options = EncodeOptions(architecture="transformers:auto", dataset=str(lines), steps=2)
    with pytest.raises(NernError) as error:
        encode(bert_folder, tmp_path / "bert.nern", options)
    assert error.value.code == code
