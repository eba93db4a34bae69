import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from app.settings import Settings
from nern_core.tensors.checkpoint import read_checkpoint
from tests.conftest import EXAMPLE, ROOT
from tests.nern_cli.conftest import Run
from tests.nern_client.conftest import fail, succeed
from tests.nern_client.wire import Wire
from tests.onnx_models import answers, saved, small_model

ENCODING = ROOT / "tests" / "golden" / "quantized-v4.nern"


def when_it_is_there(wire: Wire, settings: Settings, *, succeeds: bool) -> None:
    """Do the work of a worker as soon as a client follows the job."""

    def work() -> None:
        while not (found := [line for line in wire.seen if line.startswith("GET /jobs/job_")]):
            time.sleep(0.01)
        job_id = found[0].removeprefix("GET /jobs/")
        if succeeds:
            succeed(settings, job_id, {"weights.safetensors": b"weights"})
        else:
            fail(settings, job_id)

    threading.Thread(target=work).start()


def test_a_service_reconstructs_and_the_weights_are_downloaded(
    nern: Run, wire: Wire, embedded: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    when_it_is_there(wire, embedded, succeeds=True)
    output = tmp_path / "w.safetensors"
    assert nern("reconstruct", str(ENCODING), "-o", str(output), "--service", wire.url) == 0
    assert output.read_bytes() == b"weights"
    assert capsys.readouterr().out == f"{output}: 7 bytes\n"


def test_the_exit_status_says_that_the_job_has_failed(
    nern: Run, wire: Wire, embedded: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    when_it_is_there(wire, embedded, succeeds=False)
    assert nern("reconstruct", str(ENCODING), "-o", str(tmp_path / "w.pt"), "--service", wire.url) == 3
    assert capsys.readouterr().err == "nern: The job needs more memory than there is.\n"


def test_what_is_wrong_is_said(nern: Run, wire: Wire, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nern("reconstruct", str(EXAMPLE), "-o", str(tmp_path / "w.pt"), "--service", wire.url) == 9
    assert "not a .nern file" in capsys.readouterr().err
    assert nern("reconstruct", str(ENCODING), "-o", str(tmp_path / "w.bin"), "--service", wire.url) == 2
    # The message is in a frame, whose lines may break between any two words.
    assert "must end in" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_without_a_service_it_is_done_here(nern: Run, wire: Wire, tmp_path: Path) -> None:
    assert nern("reconstruct", str(ENCODING), "-o", str(tmp_path / "w.safetensors")) == 0
    expected = read_checkpoint(ENCODING.with_suffix(".safetensors")).tensors
    assert set(read_checkpoint(tmp_path / "w.safetensors").tensors) == set(expected)
    assert wire.seen == []


def test_single_precision_gives_nearly_the_same_weights(nern: Run, tmp_path: Path) -> None:
    encoding = ENCODING.with_name("predictor-v4.nern")
    output = tmp_path / "w.safetensors"
    assert nern("reconstruct", str(encoding), "-o", str(output), "--precision", "float32") == 0
    expected = read_checkpoint(encoding.with_suffix(".safetensors")).tensors
    for name, tensor in read_checkpoint(output).tensors.items():
        rounding = torch.finfo(tensor.dtype).eps if tensor.is_floating_point() else 0
        largest = float(expected[name].abs().max())
        torch.testing.assert_close(tensor, expected[name], rtol=rounding, atol=1e-5 * largest)


@pytest.mark.parametrize("option", [("--precision", "float32"), ("--device", "gpu")])
def test_how_a_service_decodes_is_its_own_choice(
    nern: Run, wire: Wire, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, str]
) -> None:
    output = str(tmp_path / "w.safetensors")
    assert nern("reconstruct", str(ENCODING), "-o", output, *option, "--service", wire.url) == 2
    assert "cannot be combined with --service" in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert wire.seen == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("name", ["gpu", "cuda"])
def test_a_gpu_that_is_not_there_is_refused(
    nern: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert nern("reconstruct", str(ENCODING), "-o", str(tmp_path / "w.pt"), "--device", name) == 1
    assert capsys.readouterr().err == "nern: No GPU is available here; choose the device `cpu`.\n"


def test_a_name_without_a_suffix_is_a_folder_as_the_hub_has_it(
    nern: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nern("reconstruct", str(ENCODING), "-o", str(tmp_path / "net"), "--shard-bytes", "10000") == 0
    assert "model.safetensors.index.json" in capsys.readouterr().out
    expected = read_checkpoint(ENCODING.with_suffix(".safetensors")).tensors
    found = read_checkpoint(tmp_path / "net").tensors
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }


def test_weights_that_would_be_read_instead_of_the_new_ones_are_not_left_beside_them(
    nern: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nern("reconstruct", str(ENCODING), "-o", str(tmp_path / "net")) == 0
    assert nern("reconstruct", str(ENCODING), "-o", str(tmp_path / "net")) == 0
    assert nern("reconstruct", str(ENCODING), "-o", str(tmp_path / "net"), "--shard-bytes", "10000") == 10
    assert "net' already holds 'model.safetensors'; choose an empty folder." in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "net").iterdir()] == ["model.safetensors"]


def test_only_a_folder_has_shards(nern: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nern("reconstruct", str(ENCODING), "-o", str(tmp_path / "w.pt"), "--shard-bytes", "1") == 2
    assert "Only a folder has shards" in capsys.readouterr().err


def test_an_onnx_file_is_encoded_inspected_and_reconstructed(
    nern: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, encoding, back = saved(small_model(), tmp_path), tmp_path / "x.nern", tmp_path / "back.onnx"
    assert nern("encode", str(model), "-o", str(encoding)) == 0
    assert nern("reconstruct", str(encoding), "-o", str(back)) == 0
    assert f"6 tensors written to {back}" in capsys.readouterr().out
    assert answers(back, {"x": np.zeros((2, 3, 8, 8), "float32")})["logits"].shape == (2, 10)
    for file, kind in ((model, "checkpoint"), (encoding, "encoding")):
        assert nern("inspect", str(file), "--json") == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["kind"] == kind
        assert facts["graph_bytes"] > 0


def test_other_weights_are_not_written_as_an_onnx_file(
    nern: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nern("reconstruct", str(ENCODING), "-o", str(tmp_path / "back.onnx")) == 9
    assert "These weights are not from an ONNX file" in " ".join(capsys.readouterr().err.split())
