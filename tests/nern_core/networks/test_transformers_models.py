"""Networks of transformers from their folders: built from the configuration alone, distilled and measured."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nern_core.analysis.comparison import open_comparison
from nern_core.analysis.report.files import measure_comparison
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions
from nern_core.decoder import decode
from nern_core.encoder import encode
from nern_core.formats.hub_folder import named_architecture
from nern_core.networks.transformers_models.library import offline_library
from nern_core.networks.transformers_models.network import build_hub_network
from nern_core.tensors.checkpoint import read_checkpoint
from tests.hub_folders import make_folder, zipped

pytest.importorskip("transformers")
pytest.importorskip("tokenizers")
WORDS = ("a", "small", "network", "reads", "every", "line", "of", "this", "text", "twice")


def tiny_gpt2(folder: Path, change: Callable[[dict[str, Any]], object] = lambda config: None) -> Path:
    """Make the folder of a random GPT-2 whose last layer is its embedding, with a tokenizer of a few words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    with offline_library() as transformers:
        torch.manual_seed(0)
        sizes = {"n_layer": 1, "n_embd": 32, "n_head": 2, "vocab_size": 64, "n_positions": 32}
        config = transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)
        network = transformers.GPT2LMHeadModel(config)
    tensors = {name: tensor for name, tensor in network.state_dict().items() if name != "lm_head.weight"}
    given = config.to_dict() | {"architectures": ["GPT2LMHeadModel"]}
    change(given)
    make_folder(folder, {name: tensor.contiguous() for name, tensor in tensors.items()}, config=given)
    vocabulary = {word: number for number, word in enumerate(("[UNK]", *WORDS))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))  # a token of text
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_lines(path: Path) -> Path:
    path.write_text("\n".join(" ".join(WORDS[at % 7 : at % 7 + 4]) for at in range(200)))
    return path


def built(folder: Path, architecture: str = "transformers:auto") -> nn.Module:
    checkpoint = read_checkpoint(folder)
    return build_hub_network(architecture, checkpoint.config, checkpoint.tensors).network


def refusal(folder: Path, architecture: str = "transformers:auto") -> NernError:
    with pytest.raises(NernError) as error:
        built(folder, architecture)
    assert error.value.message.endswith(".")
    assert "\n" not in error.value.message
    return error.value


def test_the_class_of_the_configuration_is_built_with_the_weights_and_shares_what_it_shares(tmp_path: Path) -> None:
    folder = tiny_gpt2(tmp_path / "net")
    network = built(folder)
    assert type(network).__name__ == "GPT2LMHeadModel"
    embedding = read_checkpoint(folder).tensors["transformer.wte.weight"]
    state = network.state_dict()
    assert torch.equal(state["lm_head.weight"], embedding)
    assert state["lm_head.weight"].data_ptr() == state["transformer.wte.weight"].data_ptr()


def test_names_without_the_prefix_of_the_base_network_are_translated(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(tiny_gpt2(tmp_path / "net"))
    bare = {name.removeprefix("transformer."): tensor for name, tensor in checkpoint.tensors.items()}
    found = build_hub_network("transformers:auto", checkpoint.config, bare | {"h.0.attn.bias": torch.ones(1, 1)})
    assert found.names["wte.weight"] == "transformer.wte.weight"
    assert found.notes == ("1 tensor that the network does not have is kept, such as 'h.0.attn.bias'.",)


def test_text_lines_are_distilled_and_the_perplexity_is_measured(tmp_path: Path) -> None:
    folder, lines = tiny_gpt2(tmp_path / "net"), write_lines(tmp_path / "lines.txt")
    options = EncodeOptions(architecture="transformers:auto", dataset=str(lines), target_ratio=8, steps=3)
    report = encode(zipped(folder), tmp_path / "x.nern", options).report
    fidelity = report.metrics.fidelity
    assert fidelity is not None
    assert [output.name for output in fidelity.outputs] == ["logits"]
    assert fidelity.original_perplexity == pytest.approx(64, rel=0.1)
    assert fidelity.reconstructed_perplexity == pytest.approx(fidelity.original_perplexity, rel=0.1)
    assert {point.phase for point in report.curve} == {"distillation"}
    decoded = decode(tmp_path / "x.nern")
    assert set(decoded.tensors) == set(read_checkpoint(folder).tensors)
    assert decoded.config == read_checkpoint(folder).config


def test_encodings_are_compared_with_their_folder_on_text(tmp_path: Path) -> None:
    folder, lines = tiny_gpt2(tmp_path / "net"), write_lines(tmp_path / "lines.txt")
    encode(folder, tmp_path / "x.nern", EncodeOptions(architecture="transformers:auto", dataset=str(lines), steps=1))
    measured = measure_comparison(open_comparison(folder, tmp_path / "x.nern"), dataset=lines)
    assert measured.report.metrics.fidelity is not None
    assert measured.report.metrics.fidelity.original_perplexity == pytest.approx(64, rel=0.1)


def test_arrays_are_arguments_by_name(tmp_path: Path) -> None:
    import numpy as np

    folder = tiny_gpt2(tmp_path / "net")
    arrays: dict[str, Any] = {"inputs.input_ids": np.arange(320).reshape(40, 8) % 64}
    np.savez(tmp_path / "ids.npz", **arrays)
    options = EncodeOptions(architecture="transformers:GPT2LMHeadModel", dataset=str(tmp_path / "ids.npz"), steps=1)
    fidelity = encode(folder, tmp_path / "x.nern", options).report.metrics.fidelity
    assert fidelity is not None
    assert fidelity.original_perplexity is not None


def test_the_name_of_the_architecture_is_found_in_folder_and_archive(tmp_path: Path) -> None:
    folder = tiny_gpt2(tmp_path / "net")
    assert named_architecture(folder) == named_architecture(zipped(folder)) == "GPT2LMHeadModel"
    assert named_architecture(folder / "model.safetensors") is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"architectures": ["EvilModel"]}, "no network 'EvilModel', and code beside a checkpoint is never run"),
        ({"architectures": ["os"]}, "no network 'os'"),
        ({"architectures": ["pipeline"]}, "no network 'pipeline'"),
        ({"architectures": ["AutoModel"]}, "no network 'AutoModel'"),
        ({"architectures": ["TimmWrapperModel"]}, "no network 'TimmWrapperModel'"),
        ({"architectures": ["__class__"]}, "no network '__class__'"),
        ({"architectures": None}, "names no class in `architectures`; name it"),
        ({"n_layer": 10**12}, "has 'n_layer' above 131,072"),
        ({"n_layer": 10**5}, "a much larger network than the checkpoint holds"),
        ({"n_embd": 2**20}, "a much larger network than the checkpoint holds"),
        ({"num_labels": 10**9}, "has 'num_labels' above 131,072"),
        ({"n_layer": "three"}, "describes no network of transformers"),
        ({"activation_function": "os.system"}, "describes no network of transformers"),
        ({"vocab_size": 65}, "has shape (64, 32), not (65, 32)"),
        ({"n_layer": 2}, "it has no tensor 'transformer.h.1.ln_1.weight' (12 are missing)"),
    ],
)
def test_a_hostile_configuration_is_one_sentence(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    folder = tiny_gpt2(tmp_path / "net", lambda config: config.update(changes))
    assert sentence in refusal(folder).message


def test_code_that_a_configuration_names_is_left_out(tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["auto_map"] = {"AutoModelForCausalLM": "modeling.Evil", "AutoConfig": "modeling.EvilConfig"}
        config["attn_implementation"] = config["_attn_implementation"] = "evil/kernel"

    folder = tiny_gpt2(tmp_path / "net", change)
    (folder / "modeling.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert type(built(folder)).__name__ == "GPT2LMHeadModel"
    assert not (tmp_path / "ran").exists()


def test_a_file_without_a_configuration_is_told_what_is_needed(tmp_path: Path) -> None:
    folder = tiny_gpt2(tmp_path / "net")
    (folder / "config.json").unlink()
    assert refusal(folder).code == "no_config"


@pytest.mark.parametrize("content", ["{", "[]", '{"model": {"type": "Evil"}}', json.dumps({"version": "1.0"})])
def test_a_damaged_tokenizer_is_one_sentence(tmp_path: Path, content: str) -> None:
    folder, lines = tiny_gpt2(tmp_path / "net"), write_lines(tmp_path / "lines.txt")
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(NernError, match=r"The tokenizer\.json cannot be used: .*\.$") as error:
        encode(folder, tmp_path / "x.nern", EncodeOptions(architecture="transformers:auto", dataset=str(lines)))
    assert error.value.code == "bad_tokenizer"


def test_text_without_a_tokenizer_says_how_to_write_one(tmp_path: Path) -> None:
    folder, lines = tiny_gpt2(tmp_path / "net"), write_lines(tmp_path / "lines.txt")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(NernError, match=r"needs a tokenizer\.json .*; write it with tokenizer\.save_pretrained"):
        encode(folder, tmp_path / "x.nern", EncodeOptions(architecture="transformers:auto", dataset=str(lines)))
