"""Checkpoints of training scripts are restored with their own names and all that load_state_dict checks."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nern_core.contract.options import EncodeOptions
from nern_core.decoder import decode
from nern_core.encoder import encode
from nern_core.networks import find_architecture
from nern_core.representations.files import read_encoding
from nern_core.tensors.checkpoint import read_checkpoint, write_checkpoint

OPTIONS = EncodeOptions(steps=1, hidden_size=8)


class Network(nn.Module):
    """One layer that is worth encoding, and one that saves extra state."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 32, 3)
        self.norm = nn.BatchNorm2d(32)
        self.scaled = Scaled()


class Scaled(nn.Module):
    state: Any = None

    def get_extra_state(self) -> Any:
        return self.state or {"scales": (0.5, float("inf")), "name": b"e4m3", "steps": [1, None, True]}

    def set_extra_state(self, state: Any) -> None:
        self.state = state


def encoded(checkpoint: Path, options: EncodeOptions = OPTIONS, suffix: str = ".pt") -> Path:
    """Encode and decode a checkpoint, and write the weights to a file."""
    encode(checkpoint, checkpoint.with_suffix(".nern"), options)
    path = checkpoint.with_name(f"decoded{suffix}")
    write_checkpoint(decode(checkpoint.with_suffix(".nern")), path)
    return path


def test_a_network_loads_its_decoded_weights_with_everything_that_it_had_saved(tmp_path: Path) -> None:
    network = Network()
    torch.save({"model": network.state_dict(), "epoch": 3}, tmp_path / "w.pt")
    state = torch.load(encoded(tmp_path / "w.pt"), weights_only=True)
    other = Network()
    other.load_state_dict(state)
    assert other.scaled.state == network.scaled.get_extra_state()
    assert set(state) == set(network.state_dict())


def test_the_versions_of_modules_come_back_exactly(tmp_path: Path) -> None:
    saved: Any = Network().state_dict()
    torch.save(saved, tmp_path / "w.pt")
    found = torch.load(encoded(tmp_path / "w.pt"), weights_only=True)
    assert type(found) is OrderedDict
    versions = vars(found)["_metadata"]
    assert versions == saved._metadata
    assert type(versions) is OrderedDict
    assert versions["norm"] == {"version": 2}


def test_a_state_dict_without_versions_stays_without(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.randn(32, 16, 3, 3)}, tmp_path / "w.pt")
    found = torch.load(encoded(tmp_path / "w.pt"), weights_only=True)
    assert type(found) is dict
    document = read_encoding(tmp_path / "w.nern").document
    assert not {"metadata", "file_names", "extra_states"} & set(document.model_dump())


def test_safetensors_hold_the_tensors_alone(tmp_path: Path) -> None:
    torch.save(Network().state_dict(), tmp_path / "w.pt")
    tensors = read_checkpoint(encoded(tmp_path / "w.pt", suffix=".safetensors")).tensors
    assert "scaled._extra_state" not in tensors
    assert "conv.weight" in tensors


def test_an_extra_state_that_is_a_tensor_comes_back_as_one(tmp_path: Path) -> None:
    state = {"conv.weight": torch.randn(32, 16, 3, 3), "conv._extra_state": torch.arange(5, dtype=torch.uint8)}
    torch.save(state, tmp_path / "w.pt")
    found = torch.load(encoded(tmp_path / "w.pt"), weights_only=True)
    assert torch.equal(found["conv._extra_state"], state["conv._extra_state"])


def test_an_extra_state_that_is_an_object_is_left_behind_and_said(tmp_path: Path) -> None:
    state = {"conv.weight": torch.randn(32, 16, 3, 3), "conv._extra_state": {"device": torch.device("cpu")}}
    torch.save(state, tmp_path / "w.pt")
    notes = encode(tmp_path / "w.pt", tmp_path / "w.nern", OPTIONS).report.metrics.notes
    assert notes[0] == "The extra state 'conv._extra_state' holds values that are not plain data and is left out."


@pytest.mark.parametrize("prefix", ["module.", "model.", "model._orig_mod.", "net.backbone."])
def test_a_wrapped_network_is_encoded_by_its_architecture_and_keeps_its_names(tmp_path: Path, prefix: str) -> None:
    architecture = find_architecture("digits-cnn")
    state = {f"{prefix}{name}": tensor for name, tensor in architecture.build(10).state_dict().items()}
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "w.pt")
    options = OPTIONS.model_copy(update={"architecture": "digits-cnn"})
    result = encode(tmp_path / "w.pt", tmp_path / "w.nern", options)
    assert f"such as '{prefix}features.0.weight' to 'features.0.weight'" in result.report.metrics.notes[0]
    assert read_encoding(tmp_path / "w.nern").document.layers[0].name == "features.0.weight"
    assert list(torch.load(encoded(tmp_path / "w.pt", options), weights_only=True)) == list(state)


def test_an_averaged_model_loads_its_decoded_weights(tmp_path: Path) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(find_architecture("digits-cnn").build(10))
    torch.save(averaged.state_dict(), tmp_path / "w.pt")
    options = OPTIONS.model_copy(update={"architecture": "digits-cnn"})
    averaged.load_state_dict(torch.load(encoded(tmp_path / "w.pt", options), weights_only=True))


def test_names_that_a_compiled_part_has_changed_come_back(tmp_path: Path) -> None:
    names = ["layer1._orig_mod.conv.weight", "layer2.conv.weight", "layer2.conv.bias"]
    state = {name: torch.randn(*(32, 16, 3, 3)[: 1 if "bias" in name else 4]) for name in names}
    torch.save(state, tmp_path / "w.pt")
    assert next(iter(read_checkpoint(tmp_path / "w.pt").tensors)) == "layer1.conv.weight"
    assert list(torch.load(encoded(tmp_path / "w.pt"), weights_only=True)) == names


def test_the_key_says_which_weights_are_encoded_and_is_remembered(tmp_path: Path) -> None:
    wanted = {"conv.weight": torch.ones(32, 16, 3, 3)}
    torch.save({"teacher": {"conv.weight": torch.zeros(32, 16, 3, 3)}, "student": wanted}, tmp_path / "w.pt")
    encode(tmp_path / "w.pt", tmp_path / "w.nern", OPTIONS.model_copy(update={"key": "student"}))
    document = read_encoding(tmp_path / "w.nern").document
    assert document.options.key == "student"
