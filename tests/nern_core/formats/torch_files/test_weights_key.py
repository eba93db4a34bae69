from pathlib import Path
from typing import Any

import pytest
import torch

from nern_core.contract.errors import NernError
from nern_core.tensors.checkpoint import read_checkpoint

OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2, 2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


def state(value: float) -> dict[str, torch.Tensor]:
    return {"conv.weight": torch.full((2, 2, 3, 3), value), "conv.bias": torch.full((2,), value)}


def read(folder: Path, content: object, key: str | None = None) -> tuple[float, tuple[str, ...]]:
    """Return the value of the selected weights, and the notes."""
    torch.save(content, folder / "w.pt")
    found = read_checkpoint(folder / "w.pt", key)
    assert set(found.tensors) == set(state(0))
    return float(found.tensors["conv.bias"][0]), found.notes


@pytest.mark.parametrize("key", ["params_ema", "ema", "generator", "g_ema", "student"])
def test_the_only_state_dict_is_taken_and_said(tmp_path: Path, key: str) -> None:
    found = read(tmp_path, {key: state(1), "epoch": 3, "optimizer": OPTIMIZER})
    assert found == (1, (f"The weights under '{key}' were used.",))


@pytest.mark.parametrize("key", ["model", "state_dict", "net", "params"])
def test_nothing_is_said_of_weights_under_a_usual_key(tmp_path: Path, key: str) -> None:
    assert read(tmp_path, {key: state(1), "epoch": 3, "optimizer": OPTIMIZER}) == (1, ())


def test_other_tensors_of_some_size_are_named_with_their_bytes(tmp_path: Path) -> None:
    # Adam keeps two tensors for each weight.
    moments = {name: {0: {"exp_avg": torch.ones(30), "exp_avg_sq": torch.ones(30)}} for name in ("state",)}
    content = {"epoch": 3, "model_state_dict": state(1), "optimizer_state_dict": moments | {"param_groups": []}}
    left_out = "240 bytes of other tensors are left out, under 'optimizer_state_dict'."
    assert read(tmp_path, content) == (1, ("The weights under 'model_state_dict' were used.", left_out))


def test_tensors_within_what_holds_the_weights_are_named_by_their_path(tmp_path: Path) -> None:
    content = {"run": {"model": state(1), "history": [torch.ones(20), {"loss": torch.ones(20)}]}}
    left_out = "160 bytes of other tensors are left out, under 'run.history'."
    assert read(tmp_path, content) == (1, ("The weights under 'run.model' were used.", left_out))


def test_other_tensors_beside_those_of_the_outermost_dict_are_named_too(tmp_path: Path) -> None:
    content = state(1) | {"optimizer": {"exp_avg": torch.ones(60)}}
    assert read(tmp_path, content) == (1, ("240 bytes of other tensors are left out, under 'optimizer'.",))


def test_a_model_that_is_a_configuration_is_no_state_dict(tmp_path: Path) -> None:
    assert read(tmp_path, {"model": {"depth": 20, "width": {"first": 16}}, "params": state(1)}) == (1, ())


@pytest.mark.parametrize(
    "content",
    [
        {"teacher": state(1), "student": state(2)},
        {"g": state(1), "d": state(2), "g_ema": state(3)},
        {"model": {"encoder": state(1), "decoder": state(2)}},
        {"model": state(1), "net": state(2)},
        {"params_ema": state(1), "ema": state(2)},
    ],
)
def test_several_state_dicts_are_named_instead_of_one_being_chosen(tmp_path: Path, content: dict[str, Any]) -> None:
    with pytest.raises(
        NernError, match="several state dicts, under '.*', '.*choose one with the option `key`"
    ) as error:
        read(tmp_path, content)
    assert error.value.code == "ambiguous_checkpoint"
    for path in content if len(content) > 1 else ("model.encoder", "model.decoder"):
        assert repr(path) in error.value.message


@pytest.mark.parametrize(
    ("key", "value"), [("teacher", 1), ("student", 2), ("nested.deeply.net", 3), ("nested", 3), ("dotted.key", 4)]
)
def test_the_key_chooses(tmp_path: Path, key: str, value: float) -> None:
    content = {
        "teacher": state(1),
        "student": state(2),
        "nested": {"deeply": {"net": state(3)}, "epoch": 1},
        "dotted.key": state(4),
    }
    assert read(tmp_path, content, key) == (value, ())


def test_the_key_chooses_by_what_names_begin_with(tmp_path: Path) -> None:
    content = {f"{part}.{name}": tensor for part, v in (("a", 1), ("b.c", 2)) for name, tensor in state(v).items()}
    torch.save({"state_dict": content}, tmp_path / "w.pt")
    found = read_checkpoint(tmp_path / "w.pt", "state_dict.b.c")
    assert set(found.tensors) == {"b.c.conv.weight", "b.c.conv.bias"}


def test_plain_weights_are_taken_rather_than_their_average_and_both_are_said(tmp_path: Path) -> None:
    assert read(tmp_path, {"model_ema": state(1), "model": state(2)}) == (
        2,
        (("The weights under 'model' were used, not those under 'model_ema'; the option `key` chooses others."),),
    )
    assert read(tmp_path, {"model_ema": state(1), "model": state(2)}, "model_ema") == (1, ())


def test_weights_under_a_usual_key_are_taken_rather_than_others_and_both_are_said(tmp_path: Path) -> None:
    value, notes = read(tmp_path, {"criterion": {"w": torch.ones(2, 2)}, "model": state(2)})
    assert value == 2
    assert "not those under 'criterion'" in notes[0]


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("absent", "no weights under the key 'absent'; they are under 'a', 'b.c'"),
        ("b.absent", "no weights under the key 'b.absent'; they are under"),
        ("epoch", "no weights under the key 'epoch'"),
    ],
)
def test_an_unknown_weights_is_named_with_those_that_there_are(tmp_path: Path, key: str, sentence: str) -> None:
    with pytest.raises(NernError, match=sentence) as error:
        read(tmp_path, {"a": state(1), "b": {"c": state(2)}, "epoch": 3}, key)
    assert error.value.code == "unknown_weights"


def test_a_key_for_a_plain_state_dict_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NernError, match="omit `key`") as error:
        read(tmp_path, state(1), "model")
    assert error.value.code == "unknown_weights"


def test_the_state_of_an_optimizer_is_no_state_dict(tmp_path: Path) -> None:
    named = {"state": {"conv.weight": {"exp_avg": torch.ones(2, 2)}}, "param_groups": [{"lr": 0.1}]}
    assert read(tmp_path, {"ema": state(1), "optim": named, "both": [OPTIMIZER]})[0] == 1


LOADED = "torch.load(FILE, map_location='cpu', weights_only=False)"


@pytest.mark.parametrize(
    ("content", "weights"),
    [
        ({"model": state(1), "run": print}, f"{LOADED}['model']"),
        ({"ema": {"net": state(1)}, "run": print}, f"{LOADED}['ema']['net']"),
        ({**state(1), "run": print}, f"{{n: t for n, t in {LOADED}.items() if torch.is_tensor(t)}}"),
        ({"model": torch.nn.Conv2d(3, 3, 3), "run": print}, f"{LOADED}['model'].state_dict()"),
        ({"model": torch.nn.Conv2d(3, 3, 3)}, f"{LOADED}['model'].state_dict()"),
        (torch.nn.Conv2d(3, 3, 3), f"{LOADED}.state_dict()"),
    ],
)
def test_a_refused_file_names_the_line_that_saves_its_weights_alone(
    tmp_path: Path, content: object, weights: str
) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(NernError) as error:
        read_checkpoint(tmp_path / "w.pt")
    assert error.value.code == "executable_checkpoint"
    line = f"torch.save({weights}, 'weights.pt')"
    assert f"`{line}`" in error.value.message
    saved = tmp_path / "weights.pt"
    line = line.replace("FILE", repr(str(tmp_path / "w.pt"))).replace("'weights.pt'", repr(str(saved)))
    exec(line, {"torch": torch})  # the command in the message
    assert read_checkpoint(saved).tensors
