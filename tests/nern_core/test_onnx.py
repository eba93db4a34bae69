"""ONNX files as checkpoints: encoded, decoded, and run by onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file

import nern_core
from nern_core.analysis.comparison import evaluator_for
from nern_core.analysis.report.files import measure_comparison
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions
from nern_core.contract.report import AlternativeReport
from nern_core.formats.encoding_structure import (
    VERSION_WITH_GRAPH,
    VERSION_WITH_LANES,
    graph_bytes,
    read_format_version,
)
from nern_core.networks.input_evaluator import InputEvaluator
from nern_core.tensors.checkpoint import read_checkpoint, write_checkpoint
from tests.image_data import class_folders
from tests.onnx_models import answers, model_of, saved, small_model, weights

SQUARE: Any = (16, 16)
NAMES = ["stem.weight", "stem.bias", "scale", "body.weight", "head.weight", "head.bias"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(small_model(), tmp_path)


def images(count: int = 40) -> Any:
    return np.random.default_rng(3).normal(size=(count, 3, 8, 8)).astype("float32")


def decoded(encoding: Path, folder: Path) -> Path:
    path = folder / "back.onnx"
    write_checkpoint(nern_core.decode(encoding), path)
    return path


def relative_error(found: Any, wanted: Any) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def test_the_weights_are_the_initializers_in_the_order_of_their_use(model: Path) -> None:
    checkpoint = read_checkpoint(model)
    assert list(checkpoint.tensors) == NAMES
    held = {of.name: onnx.numpy_helper.to_array(of) for of in onnx.load(model).graph.initializer}
    for name, tensor in checkpoint.tensors.items():
        np.testing.assert_array_equal(tensor.numpy(), held[name])


def test_a_file_comes_back_bit_for_bit(model: Path, tmp_path: Path) -> None:
    write_checkpoint(read_checkpoint(model), tmp_path / "same.onnx")
    assert onnx.load(tmp_path / "same.onnx") == onnx.load(model)


def test_an_encoding_decodes_to_a_file_that_onnxruntime_runs(model: Path, tmp_path: Path) -> None:
    encoding = tmp_path / "x.nern"
    nern_core.encode(model, encoding)
    assert encoding.stat().st_size < model.stat().st_size / 2
    x = images()
    found, wanted = answers(decoded(encoding, tmp_path), {"x": x}), answers(model, {"x": x})
    assert relative_error(found["logits"], wanted["logits"]) < 0.03
    write_checkpoint(nern_core.decode(encoding), tmp_path / "back.safetensors")
    assert set(load_file(tmp_path / "back.safetensors")) == set(NAMES)


@pytest.mark.parametrize(
    ("options", "version"),
    [({"target_bytes": 4000}, VERSION_WITH_LANES), ({"hidden_size": 8, "steps": 2}, VERSION_WITH_GRAPH)],
)
def test_a_file_with_a_graph_has_the_lowest_version_that_it_needs(
    model: Path, tmp_path: Path, options: dict[str, Any], version: int
) -> None:
    nern_core.encode(model, tmp_path / "x.nern", EncodeOptions(**options))
    assert read_format_version(tmp_path / "x.nern") == version


def test_the_graph_counts_in_the_size(model: Path, tmp_path: Path) -> None:
    nern_core.encode(model, tmp_path / "x.nern", EncodeOptions(target_bytes=4000))
    assert (tmp_path / "x.nern").stat().st_size <= 4000
    graph = read_checkpoint(model).graph
    assert graph is not None
    assert 0 < nern_core.measure_sizes(tmp_path / "x.nern").graph < len(graph)
    with (tmp_path / "x.nern").open("rb") as file:
        assert graph_bytes(file) == len(graph)


def test_weights_are_trained_and_the_fidelity_is_that_of_the_decoded_file(model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", inputs=images(200))
    options = EncodeOptions(dataset=str(tmp_path / "images.npz"), target_bytes=4000, steps=30)
    metrics = nern_core.encode(model, tmp_path / "x.nern", options).report.metrics
    assert metrics.fidelity is not None
    (output,) = metrics.fidelity.outputs
    assert output.name == "logits"
    x = images(200)
    found, wanted = answers(decoded(tmp_path / "x.nern", tmp_path), {"x": x}), answers(model, {"x": x})
    assert relative_error(found["logits"], wanted["logits"]) == pytest.approx(output.relative_error, rel=0.3)


@pytest.mark.parametrize("has_labels", [True, False])
def test_alternatives_are_measured_on_the_held_out_inputs(model: Path, tmp_path: Path, has_labels: bool) -> None:
    x = images()
    labels = {"labels": answers(model, {"x": x})["logits"].argmax(axis=1)} if has_labels else {}
    np.savez(tmp_path / "images.npz", inputs=x, **labels)
    data = tmp_path / "images.npz"
    result = nern_core.encode(model, tmp_path / "x.nern", EncodeOptions(dataset=str(data), steps=2))
    report = measure_comparison(result.comparison, trained=result.report, dataset=data).report
    by_name = {rival.name: rival for rival in report.alternatives}
    assert list(by_name) == ["zstd", "fp16", "int8", "int6", "int4"]
    assert by_name["zstd"].output_error == 0
    assert by_name["zstd"].accuracy == (100 if has_labels else None)
    errors = [by_name[name].output_error or 0.0 for name in ("int8", "int6", "int4")]
    assert 0 < errors[0] < errors[1] < errors[2]


def test_an_alternative_that_is_no_larger_and_changes_the_outputs_less_is_a_better_choice(
    model: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "images.npz", inputs=images())
    options = EncodeOptions(dataset=str(tmp_path / "images.npz"), steps=1)
    report = nern_core.encode(model, tmp_path / "x.nern", options).report
    assert report.metrics.fidelity is not None
    size, error = report.metrics.file_bytes, report.metrics.fidelity.relative_error
    rivals = [
        AlternativeReport(name="better", bytes=size, accuracy=None, output_error=error),
        AlternativeReport(name="larger", bytes=size + 1, accuracy=None, output_error=0),
        AlternativeReport(name="worse", bytes=1, accuracy=None, output_error=error * 1.01),
        AlternativeReport(name="unknown", bytes=1, accuracy=None),
    ]
    assert report.model_copy(update={"alternatives": tuple(rivals)}).better_alternatives == ("better",)


@pytest.mark.parametrize("right", [0, 40])
def test_the_accuracy_of_a_file_needs_no_architecture(model: Path, tmp_path: Path, right: int) -> None:
    x = images()
    found = answers(model, {"x": x})["logits"].argmax(axis=1)
    labels = found if right else (found + 1) % 5
    np.savez(tmp_path / "x.npz", inputs=x, labels=labels)
    quality = evaluator_for(model, read_checkpoint(model), None, tmp_path / "x.npz")
    assert isinstance(quality, InputEvaluator)
    assert quality.measure().original_accuracy == 2.5 * right


def test_inputs_can_be_given_in_python(model: Path, tmp_path: Path) -> None:
    inputs = [{"x": torch.from_numpy(images(8))} for _ in range(5)]
    result = nern_core.encode(model, tmp_path / "x.nern", EncodeOptions(steps=3), inputs=inputs)
    assert result.report.metrics.fidelity is not None


@pytest.mark.parametrize("batch", [1, 4, "n"])
def test_networks_with_a_fixed_number_of_examples_are_trained(batch: int | str, tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", inputs=images())
    options = EncodeOptions(dataset=str(tmp_path / "images.npz"), steps=2)
    metrics = nern_core.encode(saved(small_model(batch), tmp_path), tmp_path / "x.nern", options).report.metrics
    assert metrics.fidelity is not None


def recurrent() -> Any:
    """Return a model with an input, a state whose examples lie along its second axis, and a switch without axes."""
    nodes = [
        onnx.helper.make_node("LSTM", ["x", "w", "r", "", "", "h", "c"], ["", "last", "cell"], hidden_size=16),
        onnx.helper.make_node("Mul", ["last", "switch"], ["y"]),
    ]
    shapes: dict[str, Any] = {"x": [5, "n", 8], "h": [1, "n", 16], "c": [1, "n", 16], "switch": []}
    return model_of(nodes, weights(w=(1, 64, 8), r=(1, 64, 16)), shapes)


def test_arrays_have_a_row_for_each_example_wherever_the_graph_has_its_examples(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = {"x": (40, 5, 8), "h": (40, 1, 16), "c": (40, 1, 16)}
    values: dict[str, Any] = {
        f"inputs.{name}": random.normal(size=shape).astype("float32") for name, shape in arrays.items()
    }
    values["inputs.switch"] = np.full(40, 2, "float32")
    np.savez(tmp_path / "d.npz", **values)
    options = EncodeOptions(dataset=str(tmp_path / "d.npz"), steps=2)
    result = nern_core.encode(saved(recurrent(), tmp_path), tmp_path / "x.nern", options)
    assert result.report.metrics.fidelity is not None


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"inputs.image": (4, 3, 8, 8)}, r"has no array `inputs.x`"),
        ({"inputs.x": (4, 3, 8, 8), "inputs.z": (4, 1)}, r"takes no input 'z'; its inputs are 'x'"),
        ({"inputs": (4, 3, 8)}, r"Each row of 'x' has the shape \(3, 8\), .* \(any, 3, 8, 8\)"),
    ],
)
def test_other_arrays_are_refused(model: Path, arrays: Any, sentence: str, tmp_path: Path) -> None:
    values: dict[str, Any] = {name: np.zeros(shape, "float32") for name, shape in arrays.items()}
    np.savez(tmp_path / "d.npz", **values)
    with pytest.raises(NernError, match=sentence) as error:
        nern_core.encode(model, tmp_path / "x.nern", EncodeOptions(dataset=str(tmp_path / "d.npz")))
    assert error.value.code == "bad_data"


def test_arrays_without_inputs_are_listed_with_their_new_names(model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=images())
    with pytest.raises(NernError, match=r"has the arrays 'images', and none named `inputs`; rename the only argument"):
        nern_core.encode(model, tmp_path / "x.nern", EncodeOptions(dataset=str(tmp_path / "d.npz")))


def test_an_architecture_and_a_key_are_refused(model: Path, tmp_path: Path) -> None:
    refused = (
        (EncodeOptions(architecture="digits-cnn"), "own_architecture"),
        (EncodeOptions(key="model"), "unknown_weights"),
    )
    for options, code in refused:
        with pytest.raises(NernError) as error:
            nern_core.encode(model, tmp_path / "x.nern", options)
        assert error.value.code == code


def test_a_graph_with_an_unknown_operator_is_encoded_without_data(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["a"]),
        onnx.helper.make_node("Multinomial", ["a"], ["y"]),
    ]
    model = saved(model_of(nodes, weights(w=(32, 32))), tmp_path)
    nern_core.encode(model, tmp_path / "x.nern")
    assert onnx.load(decoded(tmp_path / "x.nern", tmp_path)).graph.node[1].op_type == "Multinomial"


def test_names_that_no_module_can_have_come_back(tmp_path: Path) -> None:
    names = ["onnx::Conv_1", "forward", "a", "a.b", "x..y", "/w/0"]
    nodes = [
        onnx.helper.make_node("MatMul", ["x" if not at else f"v{at}", name], [f"v{at + 1}"])
        for at, name in enumerate(names)
    ]
    model = saved(model_of(nodes, weights(**dict.fromkeys(names, SQUARE)), outputs=[f"v{len(names)}"]), tmp_path)
    nern_core.encode(
        model, tmp_path / "x.nern", inputs=[torch.randn(4, 16) for _ in range(4)], options=EncodeOptions(steps=2)
    )
    found = onnx.load(decoded(tmp_path / "x.nern", tmp_path)).graph.initializer
    assert [of.name for of in found] == names


def external(folder: Path) -> Path:
    path = folder / "big.onnx"
    onnx.save(small_model(), path, save_as_external_data=True, location="big.bin", size_threshold=0)
    return path


def test_the_values_may_lie_in_one_file_beside(tmp_path: Path) -> None:
    path = external(tmp_path)
    for name, tensor in read_checkpoint(saved(small_model(), tmp_path)).tensors.items():
        assert torch.equal(read_checkpoint(path).tensors[name], tensor)
    nern_core.encode(path, tmp_path / "x.nern")
    assert onnx.load(decoded(tmp_path / "x.nern", tmp_path)).graph.initializer[0].raw_data


def test_integers_beside_become_part_of_the_graph(tmp_path: Path) -> None:
    table = onnx.numpy_helper.from_array(np.arange(400, dtype="int64")[::-1].copy() % 16, "table")
    nodes = [
        onnx.helper.make_node("Gather", ["w", "table"], ["g"]),
        onnx.helper.make_node("MatMul", ["x", "g"], ["y"]),
    ]
    model, path = model_of(nodes, [*weights(w=SQUARE), table], {"x": [1, 400]}), tmp_path / "big.onnx"
    onnx.save(model, path, save_as_external_data=True, location="big.bin", size_threshold=0)
    assert all(of.external_data for of in onnx.load(path, load_external_data=False).graph.initializer)
    nern_core.encode(path, tmp_path / "x.nern", EncodeOptions(steps=2), inputs=[torch.ones(1, 400)] * 4)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    back, x = decoded(tmp_path / "x.nern", elsewhere), {"x": np.ones((1, 400), "float32")}
    assert relative_error(answers(back, x)["y"], answers(path, x)["y"]) < 0.1
    assert onnx.load(back).graph.initializer[1] == table


@pytest.mark.parametrize("spoil", ["missing", "short", "link", "renamed"])
def test_values_beside_are_refused_unless_they_are_a_whole_file(spoil: str, tmp_path: Path) -> None:
    path, values = external(tmp_path), tmp_path / "big.bin"
    if spoil == "missing":
        values.unlink()
    elif spoil == "short":
        values.write_bytes(values.read_bytes()[:-1])
    elif spoil == "link":
        values.rename(tmp_path / "elsewhere")
        values.symlink_to(tmp_path / "elsewhere")
    else:
        path = path.rename(tmp_path / "checkpoint")
    with pytest.raises(NernError, match=r"^The ONNX file .*\.$") as error:
        read_checkpoint(path)
    assert error.value.code in {"unsupported_format", "unreadable_checkpoint"}


def test_weights_of_another_file_make_no_onnx_file(tmp_path: Path) -> None:
    checkpoint = nern_core.Checkpoint({"w": torch.zeros(2, 2)})
    with pytest.raises(NernError) as error:
        write_checkpoint(checkpoint, tmp_path / "w.onnx")
    assert error.value.code == "no_graph"


def test_the_last_of_more_arguments_than_the_graph_takes_holds_the_labels(model: Path, tmp_path: Path) -> None:
    x = images()
    labels = answers(model, {"x": x})["logits"].argmax(axis=1)
    result = nern_core.encode(model, tmp_path / "x.nern", EncodeOptions(steps=1), inputs=[(x, labels)])
    assert result.report.metrics.original_accuracy == 100


def test_more_arguments_than_the_graph_takes_are_refused(model: Path, tmp_path: Path) -> None:
    x = images()
    with pytest.raises(NernError, match=r"The ONNX network takes 1 input \('x'\), not 3\."):
        nern_core.encode(model, tmp_path / "x.nern", inputs=[(x, x, x[:, 0, 0, 0])])


@pytest.mark.parametrize("override", [None, '{"mean": [0.5, 0.5, 0.5]}'])
def test_images_are_data_for_a_graph_with_one_input_for_them(model: Path, tmp_path: Path, override: str | None) -> None:
    class_folders(tmp_path / "images", {"a": 20, "b": 20})
    if override is not None:
        (tmp_path / "images" / "dataset.json").write_text(override)
    options = EncodeOptions(dataset=str(tmp_path / "images"), steps=1)
    metrics = nern_core.encode(model, tmp_path / "x.nern", options).report.metrics
    assert metrics.fidelity is not None
    assert metrics.fidelity.examples == 8
    assert metrics.original_accuracy is not None
    assert any("inputs of 8 x 8 pixels from 0 to 1" in note for note in metrics.notes) is (override is None)


def test_images_of_another_size_than_the_graph_takes_are_refused(model: Path, tmp_path: Path) -> None:
    class_folders(tmp_path / "images", {"a": 5, "b": 5})
    (tmp_path / "images" / "dataset.json").write_text('{"input_size": 16}')
    with pytest.raises(NernError, match="sets an `input_size` of 16; the ONNX network takes 8"):
        nern_core.encode(model, tmp_path / "x.nern", EncodeOptions(dataset=str(tmp_path / "images")))
