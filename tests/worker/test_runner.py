import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from nern_core.analysis.importance import Importance
from nern_core.contract.errors import NernError
from nern_core.contract.options import Device, EncodeOptions
from nern_core.contract.report import Report
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.tensors.digest import file_sha256
from tests.conftest import DIGITS, EXAMPLE, ROOT
from tests.dataset_files import digits_file
from tests.onnx_models import answers, small_model
from tests.small_disks import fill, needs_mounts, small_disk
from tests.worker.in_process import RunHere
from tests.worker.supervision import nothing
from worker.caches import Caches
from worker.child import runner_environment
from worker.folder import OPTIONAL_RESULTS, RECONSTRUCTED, RESULTS, RunFolder, RunSpec
from worker.runner import _encode, _explained, _write_error

CACHES = Caches()
GOLDEN = ROOT / "tests" / "golden" / "quantized-v4"


def run(
    folder: RunFolder, options: EncodeOptions, checkpoint: bytes, datasets: Mapping[str, bytes] | None = None
) -> subprocess.CompletedProcess[str]:
    folder.make()
    for name, content in (datasets or {}).items():
        (folder.datasets / name).write_bytes(content)
    CACHES.copy_to(folder.caches, nothing)
    folder.checkpoint.write_bytes(checkpoint)
    return start(folder, RunSpec(options=options))


def start(folder: RunFolder, spec: RunSpec) -> subprocess.CompletedProcess[str]:
    folder.spec.write_text(spec.model_dump_json())
    command = [sys.executable, "-m", "worker.runner", str(folder.path), str(os.getpid())]
    environment = runner_environment(folder)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_runner_prints_progress_lines_and_leaves_the_results(tmp_path: Path) -> None:
    ended = run(RunFolder(tmp_path), EncodeOptions(steps=3, hidden_size=8), EXAMPLE.read_bytes())
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0
    assert [line["snapshot"] for line in lines if "snapshot" in line] == ["stage-0"]
    progress = [line["progress"] for line in lines if "progress" in line]
    phases = [observation["phase"] for observation in progress]
    assert list(dict.fromkeys(phases)) == [
        "starting",
        "reading",
        "ordering",
        "reconstruction",
        "writing",
        "evaluation",
        "comparison",
    ]
    assert progress[-1]["fraction"] == 1.0
    assert {path.name for path in RunFolder(tmp_path).results.iterdir()} == {*RESULTS}


def test_seconds_are_those_of_the_whole_attempt(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.make()
    folder.checkpoint.write_bytes(EXAMPLE.read_bytes())
    started = time.perf_counter() - 5
    ended = start(folder, RunSpec(options=EncodeOptions(), started=started))
    assert ended.returncode == 0
    passed = time.perf_counter() - started
    seconds = dict(Report.model_validate_json(folder.report.read_bytes()).metrics.seconds)
    total = seconds.pop("total")
    # The supervisor started five seconds before the runner.
    assert seconds["starting"] > 5
    assert {"reading", "quantization", "writing", "evaluation", "comparison"} <= set(seconds)
    assert sum(seconds.values()) == pytest.approx(total, abs=0.01)
    assert 0.8 * passed < total <= passed


def test_a_job_that_loses_more_than_fail_over_allows_fails_and_says_what_to_do(run_here: RunHere) -> None:
    options = EncodeOptions(architecture="digits-cnn", dataset=str(DIGITS), target_ratio=40, steps=1, fail_over=1)
    ended = run_here(options, EXAMPLE.read_bytes())
    assert (ended.status, ended.error["code"]) == (1, "too_lossy")
    assert "more than the limit of 1." in ended.error["message"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_confined_runner_computes_on_a_gpu(tmp_path: Path) -> None:
    options = EncodeOptions(architecture="digits-cnn", dataset=str(DIGITS), device=Device.GPU, steps=30, hidden_size=8)
    ended = run(RunFolder(tmp_path), options, EXAMPLE.read_bytes())
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "sandbox" not in ended.stderr
    assert {path.name for path in RunFolder(tmp_path).results.iterdir()} == {*RESULTS}


def test_the_report_of_a_runner_compares_with_standard_codecs_on_the_same_images(
    tmp_path: Path, run_here: RunHere
) -> None:
    options = EncodeOptions(architecture="digits-cnn", dataset=str(DIGITS), steps=3, hidden_size=8)
    assert run_here(options, EXAMPLE.read_bytes()).status == 0
    report = Report.model_validate_json((tmp_path / "results" / "report.json").read_bytes())
    assert [alternative.name for alternative in report.alternatives] == ["zstd", "fp16", "int8", "int6", "int4"]
    assert all(alternative.accuracy is not None for alternative in report.alternatives)
    page = (tmp_path / "results" / "report.html").read_text()
    assert f"{report.metrics.file_bytes:,} bytes" in page
    assert "Loss of the phase distillation" in page


@pytest.mark.slow
def test_a_runner_that_is_asked_for_it_quantizes_the_network_directly_too(tmp_path: Path) -> None:
    options = EncodeOptions(
        architecture="digits-cnn",
        dataset=str(DIGITS),
        seconds=2,
        target_bytes=9000,
        importance=True,
        direct_quantization=True,
    )
    ended = run(RunFolder(tmp_path), options, EXAMPLE.read_bytes())
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    told = [line["progress"] for line in lines if "progress" in line]
    fractions = [progress["fraction"] for progress in told]
    assert ended.returncode == 0
    phases = list(dict.fromkeys(progress["phase"] for progress in told))
    assert phases == [
        "starting",
        "reading",
        "quantization",
        "distillation",
        "writing",
        "evaluation",
        "comparison",
        "importance",
    ]
    assert (fractions, fractions[-1]) == (sorted(fractions), 1.0)
    report = Report.model_validate_json((tmp_path / "results" / "report.json").read_bytes())
    rival = report.alternatives[-1]
    assert rival.name == "direct quantization"
    assert rival.seconds == pytest.approx(2, abs=1)
    assert rival.accuracy is not None


def test_a_rival_that_fails_leaves_the_encoding_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*arguments: object, **options: object) -> None:
        raise NernError("diverged", "Training diverged after 7 steps.")

    # No input is known that always diverges.
    monkeypatch.setattr("nern_core.analysis.direct_quantization.quantize_as_small", diverge)
    folder = RunFolder(tmp_path)
    folder.make()
    folder.checkpoint.write_bytes(EXAMPLE.read_bytes())
    options = EncodeOptions(
        architecture="digits-cnn", dataset=str(DIGITS), steps=3, target_bytes=9000, direct_quantization=True
    )
    assert _encode(folder, RunSpec(options=options), options, lambda line: None, lambda: False) == 0
    report = Report.model_validate_json(folder.report.read_bytes())
    assert report.failed_alternatives == {"direct quantization": "Training diverged after 7 steps."}
    assert folder.result_names() == [*RESULTS]


def test_an_uploaded_data_set_is_known_by_its_name_alone(tmp_path: Path, run_here: RunHere) -> None:
    folder = RunFolder(tmp_path)
    options = EncodeOptions(architecture="digits-cnn", dataset="mine", steps=3, hidden_size=8, importance=True)
    assert run_here(options, EXAMPLE.read_bytes(), {"mine": digits_file()}).status == 0
    assert folder.result_names() == [*RESULTS, *OPTIONAL_RESULTS]
    report = folder.report.read_text()
    assert '"dataset": "mine"' in report
    assert str(tmp_path) not in report


def test_a_data_set_that_is_none_is_one_error_line(run_here: RunHere, capfd: pytest.CaptureFixture[str]) -> None:
    options = EncodeOptions(architecture="digits-cnn", dataset="mine", steps=3)
    ended = run_here(options, EXAMPLE.read_bytes(), {"mine": digits_file()[:-1]})
    assert ended.error["code"] == "not_a_dataset"
    assert "Traceback" not in capfd.readouterr().err


def test_a_runner_makes_a_file_of_the_size_that_it_is_asked_for(tmp_path: Path, run_here: RunHere) -> None:
    options = EncodeOptions(architecture="digits-cnn", dataset=str(DIGITS), steps=3, target_bytes=9000)
    assert run_here(options, EXAMPLE.read_bytes()).status == 0
    assert 8700 < (tmp_path / "results" / "encoding.nern").stat().st_size <= 9000
    assert {path.name for path in RunFolder(tmp_path).results.iterdir()} == {*RESULTS}


def test_a_target_that_cannot_be_met_is_one_error_line(run_here: RunHere) -> None:
    ended = run_here(EncodeOptions(target_bytes=100), EXAMPLE.read_bytes())
    assert (ended.status, ended.error["code"]) == (1, "target_too_small")


@pytest.mark.slow
def test_a_runner_that_is_asked_for_it_ranks_the_kernels_last(tmp_path: Path) -> None:
    options = EncodeOptions(architecture="digits-cnn", dataset=str(DIGITS), steps=3, hidden_size=8, importance=True)
    ended = run(RunFolder(tmp_path), options, EXAMPLE.read_bytes())
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    told = [line["progress"] for line in lines if "progress" in line]
    fractions = [progress["fraction"] for progress in told]
    assert ended.returncode == 0
    assert told[-1]["phase"] == "importance"
    assert (fractions, fractions[-1]) == (sorted(fractions), 1.0)
    assert max(progress["fraction"] for progress in told if progress["phase"] != "importance") == 0.8
    assert {path.name for path in RunFolder(tmp_path).results.iterdir()} == {*RESULTS, *OPTIONAL_RESULTS}
    importance = Importance.model_validate_json((tmp_path / "results" / "importance.json").read_bytes())
    assert importance.images == 500
    assert importance.encoding_sha256 == file_sha256(tmp_path / "results" / "encoding.nern")


def test_without_data_a_runner_leaves_no_pruning_curve(tmp_path: Path, run_here: RunHere) -> None:
    folder = RunFolder(tmp_path)
    options = EncodeOptions(steps=1, hidden_size=8, importance=True)
    assert run_here(options, EXAMPLE.read_bytes()).status == 0
    assert folder.result_names() == [*RESULTS, "importance.json", "importance.safetensors"]


def test_input_that_cannot_be_encoded_ends_in_one_error_line(tmp_path: Path) -> None:
    ended = run(RunFolder(tmp_path), EncodeOptions(), b"PK\x03\x04")
    assert ended.returncode == 1
    error = json.loads(ended.stdout.splitlines()[-1])["error"]
    assert error["code"] == "unreadable_checkpoint"
    assert "Traceback" not in ended.stderr


def test_a_long_error_is_cut() -> None:
    lines: list[str] = []
    _write_error(lines.append, "unmatched_pattern", "x" * 5000)
    assert json.loads(lines[0])["error"] == {"code": "unmatched_pattern", "message": "x" * 1000}


def test_a_runner_without_options_reconstructs(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.make()
    CACHES.copy_to(folder.caches, nothing)
    shutil.copy(GOLDEN.with_suffix(".nern"), folder.encoding)
    ended = start(folder, RunSpec(options=None))
    progress = [json.loads(line)["progress"] for line in ended.stdout.splitlines()]
    assert ended.returncode == 0
    assert [observation["phase"] for observation in progress] == ["starting", "reading", "writing", "writing"]
    assert progress[-1]["fraction"] == 1.0
    assert {path.name for path in folder.results.iterdir()} == {*RECONSTRUCTED}
    expected = read_checkpoint(GOLDEN.with_suffix(".safetensors")).tensors
    for name in RECONSTRUCTED:
        found = read_checkpoint(folder.result(name)).tensors
        assert set(found) == set(expected)
        assert all(torch.equal(found[tensor], expected[tensor]) for tensor in expected)


def test_an_onnx_file_comes_back_as_one(tmp_path: Path) -> None:
    folder, again = RunFolder(tmp_path / "encoded"), RunFolder(tmp_path / "decoded")
    arrays = io.BytesIO()
    np.savez(arrays, inputs=np.random.default_rng(0).normal(size=(64, 3, 8, 8)).astype("float32"))
    options = EncodeOptions(dataset="images.npz", steps=2)
    ended = run(folder, options, small_model().SerializeToString(), {"images.npz": arrays.getvalue()})
    assert ended.returncode == 0, ended.stdout
    assert folder.result_names() == [*RESULTS, "weights.onnx"]
    report = Report.model_validate_json(folder.report.read_bytes())
    assert report.metrics.fidelity is not None
    assert all(rival.output_error is not None for rival in report.alternatives)
    again.make()
    CACHES.copy_to(again.caches, nothing)
    shutil.copy(folder.result("encoding.nern"), again.encoding)
    assert start(again, RunSpec(options=None)).returncode == 0
    assert again.result_names(encodes=False) == [*RECONSTRUCTED, "weights.onnx"]
    assert file_sha256(again.result("weights.onnx")) == file_sha256(folder.result("weights.onnx"))
    images = {"x": np.zeros((2, 3, 8, 8), "float32")}
    assert answers(again.result("weights.onnx"), images)["logits"].shape == (2, 10)


def test_a_runner_that_cannot_confine_itself_as_is_required_blames_the_machine(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.make()
    folder.spec.write_text(RunSpec(options=EncodeOptions(), require_sandbox=True).model_dump_json())
    program = (
        "import sys\nfrom pathlib import Path\nfrom worker import runner\nfrom worker.folder import RunFolder\n"
        "runner.confine = lambda confinement: {'landlock': 'not here'}\n"
        "sys.exit(runner.main(RunFolder(Path(sys.argv[1])), int(sys.argv[2])))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path), str(os.getpid())]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, json.loads(ended.stdout)["error"]["code"]) == (74, "no_sandbox")


@pytest.mark.parametrize(
    ("library", "code"), [("nern_core.encoder", "no_runner"), ("nern_core.analysis.importance", "missing_library")]
)
def test_a_runner_without_a_library_blames_the_machine(tmp_path: Path, library: str, code: str) -> None:
    folder = RunFolder(tmp_path)
    folder.make()
    folder.checkpoint.write_bytes(EXAMPLE.read_bytes())
    options = EncodeOptions(importance=True)
    folder.spec.write_text(RunSpec(options=options).model_dump_json())
    program = (
        "import sys\nfrom pathlib import Path\nfrom worker import runner\nfrom worker.folder import RunFolder\n"
        "runner.confine = lambda confinement: {}\n"
        f"sys.modules['{library}'] = None\n"
        "sys.exit(runner.main(RunFolder(Path(sys.argv[1])), int(sys.argv[2])))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path), str(os.getpid())]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, json.loads(ended.stdout.splitlines()[-1])["error"]["code"]) == (74, code)


@needs_mounts
def test_a_runner_whose_disk_is_full_blames_the_machine_and_its_training_goes_on_until_then(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "disk" / "run")
    with small_disk(tmp_path / "disk", "16m"):
        folder.make()
        CACHES.copy_to(folder.caches, nothing)
        folder.checkpoint.write_bytes(EXAMPLE.read_bytes())
        options = EncodeOptions(steps=3, hidden_size=8, representation="predictor")
        folder.spec.write_text("x" * 4096)
        # Space for the libraries' checks at their start, but not for a snapshot.
        fill(tmp_path / "disk", leave=12_000)
        ended = start(folder, RunSpec(options=options, seconds_between_snapshots=0.0))
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert (ended.returncode, lines[-1]["error"]["code"]) == (74, "disk_full")
    assert "snapshot stage-0 was not saved" in ended.stderr
    assert any(line["progress"]["step"] == 3 for line in lines if "progress" in line)


def test_errors_of_the_machine_have_sentences_of_their_own() -> None:
    allocator = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
    assert _explained(allocator)[0] == _explained(MemoryError())[0] == "out_of_memory"
    assert _explained(OSError(27, "File too large"))[0] == "file_too_large"
    assert _explained(ValueError("secret detail")) == (
        "internal_error",
        "The job failed unexpectedly; see the worker's log.",
    )
