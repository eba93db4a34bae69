import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nern_cli.main import main
from nern_cli.option_words import bounds_of
from nern_core.representations.files import read_encoding
from nern_core.tensors.checkpoint import read_checkpoint
from tests.conftest import DIGITS, EXAMPLE, ROOT

DATA = ["--architecture", "digits-cnn", "--dataset", str(DIGITS)]
QUICK = ["--hidden-size", "16", "--steps", "20"]
METRICS = {
    "source_bytes",
    "tensor_bytes",
    "file_bytes",
    "predictor_bytes",
    "permutation_bytes",
    "integer_bytes",
    "kept_bytes",
    "ratio",
    "relative_error",
    "layer_errors",
    "original_accuracy",
    "reconstructed_accuracy",
    "fidelity",
    "verdict",
    "seconds",
    "notes",
}


def nern(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command in this process; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["nern", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_encode_reconstruct_evaluate_and_inspect_belong_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    encoding, weights = str(tmp_path / "digits.nern"), str(tmp_path / "weights.safetensors")
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", encoding, *DATA, *QUICK, "--json") == 0
    metrics = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(metrics) == METRICS
    assert metrics["source_bytes"] == EXAMPLE.stat().st_size
    assert metrics["file_bytes"] == Path(encoding).stat().st_size
    assert metrics["seconds"]["total"] == pytest.approx(
        sum(value for phase, value in metrics["seconds"].items() if phase != "total"), abs=0.01
    )

    assert nern(monkeypatch, "reconstruct", encoding, "-o", weights) == 0
    assert set(read_checkpoint(Path(weights)).tensors) == set(read_checkpoint(EXAMPLE).tensors)

    capsys.readouterr()
    for file in (weights, encoding):
        assert nern(monkeypatch, "evaluate", file, *DATA, "--json") == 0
        assert json.loads(capsys.readouterr().out) == {"accuracy": metrics["reconstructed_accuracy"]}

    assert nern(monkeypatch, "inspect", encoding, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["hidden_size"], facts["represented_tensors"]) == ("encoding", 16, 3)
    assert all(facts[figure] == metrics[figure] for figure in ("file_bytes", "tensor_bytes", "ratio"))
    named = facts["represented_tensors"] + facts["kept_tensors"] + facts["tied_tensors"]
    assert named == len(read_checkpoint(EXAMPLE).tensors)


def test_a_target_size_gives_a_file_without_a_predictor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    encoding = tmp_path / "digits.nern"
    arguments = ("encode", str(EXAMPLE), "-o", str(encoding), *DATA, "--steps", "5", "--target-ratio", "20", "--json")
    assert nern(monkeypatch, *arguments) == 0
    metrics = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert metrics["predictor_bytes"] == 0
    assert metrics["ratio"] >= 20
    assert nern(monkeypatch, "inspect", str(encoding), "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["representation"], facts["represented_tensors"]) == ("quantized", 4)
    sweep = ("compress-report", str(EXAMPLE), str(encoding), *DATA[2:], "-o", str(tmp_path / "x.svg"))
    assert nern(monkeypatch, *sweep) == 9
    assert (
        "holds quantized weights, not a predictor; encode with --representation `predictor`" in capsys.readouterr().err
    )


def test_a_file_that_costs_more_than_was_allowed_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # Two bits cost the example nothing, so its weights are quantized coarsely here, with and without training.
    monkeypatch.setattr("nern_core.representations.quantized.within_drop.FIRST_BITS_PER_WEIGHT", 0.2)
    monkeypatch.setattr(
        "nern_core.representations.quantized.encoder.quantize_faithfully",
        lambda quantizer, plan, size_of: quantizer.rounded(quantizer.start(plan, 0.2 * quantizer.weights)),
    )
    search = ["--max-drop", "0.01", "--steps", "1"]
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", str(tmp_path / "x.nern"), *DATA, *search) == 7
    error = capsys.readouterr().err
    assert "more than --max-drop 0.01. Train longer" in error
    # One of both, whichever is larger.
    assert ("points (measured on the test split)" in error) != ("(estimated on held-out training images)" in error)


def test_more_lost_than_fail_over_allows_is_an_error_and_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    few = ["--target-ratio", "40", "--steps", "1", "--fail-over", "1"]
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", str(tmp_path / "x.nern"), *DATA, *few) == 8
    message = capsys.readouterr().err.splitlines()[-1]
    assert "points of accuracy, more than the limit of 1. The training of 1 steps was too short" in message
    assert list(tmp_path.iterdir()) == []


def test_less_lost_than_fail_over_allows_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    enough = ["--target-ratio", "5", "--steps", "1", "--fail-over", "1"]
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", str(tmp_path / "x.nern"), *DATA, *enough) == 0


def test_the_verdict_follows_the_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    encoding = str(tmp_path / "x.nern")
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", encoding) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Faithful. The accuracy was not measured. The weights differ by ")
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", encoding, "--json") == 0
    assert json.loads(capsys.readouterr().out)["verdict"]["level"] == "faithful"


def test_seconds_are_those_of_the_whole_command(tmp_path: Path) -> None:
    report = tmp_path / "x.json"
    program = "from nern_cli.main import main; main()"
    arguments = ["encode", str(EXAMPLE), "-o", str(tmp_path / "x.nern"), "--report", str(report)]
    started = time.time()
    subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, check=True)
    passed = report.stat().st_mtime - started
    seconds = json.loads(report.read_bytes())["metrics"]["seconds"]
    total = seconds.pop("total")
    assert {"starting", "reading", "quantization", "writing", "evaluation"} == set(seconds)
    assert sum(seconds.values()) == pytest.approx(total, abs=0.01)
    # The system counts the start of a process in hundredths of a second.
    assert 0.95 * passed < total <= passed + 0.02


def test_without_data_the_accuracies_are_null(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", str(tmp_path / "x.nern"), *QUICK, "--json") == 0
    captured = capsys.readouterr()
    metrics = json.loads(captured.out)
    assert (metrics["original_accuracy"], metrics["reconstructed_accuracy"]) == (None, None)
    assert "reconstruction" in captured.err


def test_results_are_a_table_for_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", str(tmp_path / "x.nern"), *DATA, *QUICK) == 0
    out = capsys.readouterr().out
    assert "original accuracy" in out
    assert "99.40 %" in " ".join(out.split())


def test_a_checkpoint_can_be_inspected(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert nern(monkeypatch, "inspect", str(EXAMPLE), "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["kernels"], facts["kernel_shapes"]) == ("checkpoint", 96 + 2048 + 4096, "3x3")
    # By default, the classifier is also represented.
    assert (facts["represented_tensors"], facts["represented_weights"], facts["spatial_tensors"]) == (4, 56_800, 3)


@pytest.mark.parametrize("columns", ["40", "80"])
def test_long_values_are_folded_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    encoding = ROOT / "tests" / "golden" / "quantized-v5.nern"
    assert nern(monkeypatch, "inspect", str(encoding)) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    assert {len(line) for line in lines} == {int(columns)}
    values = "".join(line.rpartition("│")[0].rpartition("│")[2].strip() for line in lines)
    assert read_encoding(encoding).document.source.sha256 in values


def test_values_are_whole_in_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    encoding = ROOT / "tests" / "golden" / "quantized-v5.nern"
    assert nern(monkeypatch, "inspect", str(encoding)) == 0
    assert read_encoding(encoding).document.source.sha256 in capsys.readouterr().out


def test_the_architecture_of_an_encoding_is_that_which_it_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    named, nameless = str(tmp_path / "named.nern"), str(tmp_path / "nameless.nern")
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", named, *DATA[:2]) == 0
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", nameless) == 0
    assert nern(monkeypatch, "evaluate", named, *DATA[2:]) == 0
    capsys.readouterr()
    for file in (nameless, str(EXAMPLE)):
        assert nern(monkeypatch, "evaluate", file, *DATA[2:]) == 2
        assert "give " in (error := capsys.readouterr().err)
        assert "--architecture" in error


def test_a_budget_that_is_not_used_is_noted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = str(tmp_path / "x.nern")
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", output, *DATA[:2], "--steps", "5") == 0
    note = "Nothing was trained, and the budget in `steps` not used: there are no images"
    assert note.replace("`steps`", "--steps") in capsys.readouterr().err
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", output, *DATA[:2]) == 0
    assert "Nothing was trained" not in capsys.readouterr().err


def test_help_has_the_bounds_of_options(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert nern(monkeypatch, "encode", "--help") == 0
    assert "Width of the predictor. From 8 to 4096." in " ".join(capsys.readouterr().out.split())
    bounds = {name: bounds_of(name) for name in ("target_ratio", "seconds", "steps", "rounds", "fail_over", "recipe")}
    assert bounds == {
        "target_ratio": "Above 1 up to 1000.",
        "seconds": "Above 0.",
        "steps": "1 or more.",
        "rounds": "From 1 to 10.",
        "fail_over": "From 0 to 100.",
        "recipe": "",
    }


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["encode", "{empty}", "-o", "{out}"], 9, "is an empty file"),
        (["encode", "{text}", "-o", "{out}"], 9, "neither a safetensors nor a torch checkpoint"),
        (["encode", "{example}", "-o", "/no/such/folder/x.nern"], 10, "choose another output."),
        (["encode", "{example}", "-o", "{out}", "--architecture", "vgg"], 2, "did you mean torchvision:vgg19?"),
        (["encode", "{example}", "-o", "{out}", "--architecture", "torchvision:vgg"], 2, "has no network 'vgg'"),
        (["encode", "{example}", "-o", "{out}", "--architecture", "x"], 2, "no architecture 'x'; use cifar-resnet20"),
        (
            ["encode", "{example}", "-o", "{out}", "--architecture", "resnet18"],
            2,
            "no architecture 'resnet18'; did you mean torchvision:resnet18?",
        ),
        (["encode", "{example}", "-o", "{out}", "--steps", "0"], 2, "nern: --steps: this must be at least 1."),
        (["encode", "{example}", "-o", "{out}", "--steps", "x"], 2, "'--steps': This must be a whole number."),
        (["serve", "--port", "99999"], 2, "'--port': This must be at most 65535."),
        (["serve", "--data-dir", "{text}"], 1, "text.pt' is a file; choose a folder with --data-dir."),
        (["encode", "{example}", "-o", "{out}", "--key", "x"], 9, "begin with 'x.'; omit --key."),
        (["inspect", "{no_encoding}"], 9, "is an empty file; use a .nern file."),
        (["encode", "{example}", "-o", "{out}", "--dataset", "/tmp"], 2, "--dataset needs --architecture"),
        (["encode", "{example}", "-o", "{out}", "--seconds", "1", "--steps", "1"], 2, "not both"),
        (["encode", "{example}", "-o", "{out}", "--fail-over", "1"], 2, "--fail-over needs a --dataset"),
        (["encode", "{example}", "-o", "{out}", "--hidden-size", "2"], 2, "--hidden-size"),
        (["encode", "{example}", "-o", "{out}", "--target-bytes", "99"], 7, "has no room for the weights"),
        (["encode", "{example}", "-o", "{out}", "--target-ratio", "1"], 2, "--target-ratio"),
        (["encode", "{example}", "-o", "{out}", "--target-ratio", "9", "--recipe", "paper"], 2, "no target size"),
        (["encode", "{example}", "-o", "{out}", "--architecture", "cifar-resnet20"], 9, "does not fit"),
        (["encode", "{missing}", "-o", "{out}"], 2, "does not exist"),
        (["encode", "{example}", "-o", "{out}", "--teacher", "{example}"], 2, "both --teacher and"),
        (["encode", "{example}", "-o", "{out}", "--rounds", "11"], 2, "--rounds"),
        (["encode", "{example}", "-o", "{out}", "--frobnicate"], 2, "No such option"),
        (
            ["reconstruct", "{example}", "-o", "{weights}"],
            9,
            "is a checkpoint without `nern` metadata, not a .nern file",
        ),
        (["reconstruct", "{text}", "-o", "{weights}"], 9, "is not a .nern file"),
        (["reconstruct", "{text}", "-o", "{out}"], 2, "must end in .safetensors, .pt"),
        (
            ["evaluate", "{example}", "--architecture", "digits-cnn", "--dataset", "/no"],
            9,
            "There is no folder or file '/no'. A data set is a folder of images, by class or without classes; Parquet,",
        ),
        (["encode", "{pipe}", "-o", "{out}"], 2, "is a pipe or a device"),
        (["encode", "{several}", "-o", "{out}"], 9, "several state dicts, under 'a', 'net.g'"),
        (["encode", "{several}", "-o", "{out}", "--key", "net.d"], 9, "no weights under the key 'net.d'"),
        (["evaluate", "{example}", "--architecture", "digits-cnn", "--dataset", "{broken}"], 9, "is an empty file"),
        (
            ["encode", "{example}", "-o", "{out}", "--architecture", "digits-cnn", "--dataset", "{broken}"],
            9,
            "test.npz'",
        ),
        (
            ["encode", "{example}", "-o", "{out}", "--target-ratio", "9", "--max-drop", "1"],
            2,
            "nern: Use only one of --target-bytes,",
        ),
        (["encode", "{example}", "-o", "{out}", "--recipe", "best"], 2, "for '--recipe': 'best' is not one of"),
        (["encode", "{several}", "-o", "{several}"], 10, "several.pt' is an input or another output of this command"),
        (["inspect", "{text}"], 9, "neither a safetensors nor a torch checkpoint"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    status: int,
    sentence: str,
) -> None:
    files = {"empty": tmp_path / "empty.pt", "text": tmp_path / "text.pt", "out": tmp_path / "out.nern"}
    files["empty"].touch()
    files["text"].write_text("Dear diary")
    files["no_encoding"] = tmp_path / "empty.nern"
    files["no_encoding"].touch()
    files |= {"pipe": tmp_path / "pipe.pt", "several": tmp_path / "several.pt", "broken": tmp_path / "broken"}
    os.mkfifo(files["pipe"])
    torch.save({key: {"w": torch.ones(2, 2)} for key in ("a", "net.g")}, files["several"])
    files["broken"].mkdir()
    (files["broken"] / "test.npz").touch()
    names = {name: str(path) for name, path in files.items()} | {
        "example": str(EXAMPLE),
        "missing": "/no/file.pt",
        "weights": str(tmp_path / "w.pt"),
    }
    assert nern(monkeypatch, *(argument.format(**names) for argument in arguments)) == status
    error = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert sentence in error
    assert "Traceback" not in error
    assert not files["out"].exists()


def test_help_does_not_load_torch() -> None:
    program = "import sys\nfrom nern_cli.commands import app\nassert 'torch' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_the_key_chooses_the_weights_and_what_was_decided_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    weights = load_file(EXAMPLE)
    wrapped = {f"model.{name}": tensor for name, tensor in weights.items()}
    torch.save({"teacher": {"w": torch.ones(2, 2)}, "student": wrapped}, tmp_path / "w.pt")
    common = ("evaluate", str(tmp_path / "w.pt"), *DATA, "--json")
    assert nern(monkeypatch, *common, "--key", "student") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["accuracy"] == pytest.approx(99.4, abs=0.05)
    assert "All names were changed to the network's, such as 'model." in captured.err


def test_the_data_folder_of_the_service_can_be_set_by_the_environment(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NERN_DATA_DIR", str(tmp_path / "file"))
    assert nern(monkeypatch, "serve") == 1
    assert f"'{tmp_path / 'file'}' is a file" in capsys.readouterr().err
