import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import safetensors.torch
import torch

from nern_cli.output_files import output_file, output_folder, resumable_output
from nern_core.contract.errors import NernError
from nern_core.representations.files import read_encoding
from nern_core.tensors.checkpoint import Checkpoint, write_checkpoint
from tests.conftest import DIGITS, EXAMPLE, ROOT
from tests.nern_cli.test_main import QUICK, nern

ENCODING = ROOT / "tests" / "golden" / "predictor-v4.nern"
SOURCE = ROOT / "tests" / "golden" / "source.safetensors"
Opener = Callable[..., AbstractContextManager[Path]]


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB; only root can mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def refusal(context: AbstractContextManager[Path], content: bytes = b"new") -> NernError:
    with pytest.raises(NernError) as refused, context as staged:
        staged.write_bytes(content)
    return refused.value


def fail(staged: Path) -> None:
    """Write part of a file, and fail."""
    staged.write_bytes(b"half")
    raise ZeroDivisionError


def test_an_output_appears_whole_when_the_command_has_succeeded(tmp_path: Path) -> None:
    output = tmp_path / "x.nern"
    with output_file(output) as staged:
        assert staged.name == "x.nern"
        staged.write_bytes(b"new")
        assert not output.exists()
    assert output.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [output]


def test_a_command_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    output = tmp_path / "x.nern"
    output.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), output_file(output) as staged:
        fail(staged)
    assert output.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("opened", [output_file, resumable_output])
def test_a_folder_is_no_output(tmp_path: Path, opened: Opener) -> None:
    assert refusal(opened(tmp_path)).code == "is_folder"


@pytest.mark.parametrize("opened", [output_file, resumable_output])
def test_a_folder_that_takes_no_files_is_refused_before_the_work(opened: Opener) -> None:
    with pytest.raises(NernError, match="cannot be written"), opened(Path("/sys/x.nern")):
        pytest.fail("the work has begun")


@pytest.mark.parametrize("opened", [output_file, resumable_output])
def test_a_disk_that_is_full_already_is_told_before_the_work(full_disk: Path, opened: Opener) -> None:
    (full_disk / "other").write_bytes(bytes(64 * 2**10))
    with pytest.raises(NernError, match="The disk is full") as refused, opened(full_disk / "x.nern"):
        pytest.fail("the work has begun")
    assert refused.value.code == "disk_full"
    assert [path.name for path in full_disk.iterdir()] == ["other"]


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_a_disk_that_becomes_full_is_one_sentence_and_nothing_half_written(full_disk: Path, name: str) -> None:
    big = Checkpoint({"weight": torch.zeros(100_000)})
    with (
        pytest.raises(NernError, match="The disk is full: .* was not written") as refused,
        output_file(full_disk / name) as staged,
    ):
        write_checkpoint(big, staged)
    assert refused.value.code == "disk_full"
    assert list(full_disk.iterdir()) == []


def test_an_error_that_has_nothing_to_do_with_the_output_is_itself(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), output_file(tmp_path / "x.nern"):
        (tmp_path / "missing").read_bytes()


def test_a_link_is_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target.nern", tmp_path / "link.nern"
    target.write_bytes(b"old")
    link.symlink_to(target.name)
    with output_file(link) as staged:
        staged.write_bytes(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_device_is_written_to_and_stays_one() -> None:
    with output_file(Path("/dev/null")) as staged:
        staged.write_bytes(b"new")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_device_without_room_is_one_sentence() -> None:
    assert refusal(output_file(Path("/dev/full"))).code == "disk_full"


def test_a_pipe_gets_the_bytes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with resumable_output(pipe) as staged:
        staged.write_bytes(b"new")
    reader.join(10)
    assert read == [b"new"]


def test_all_formats_have_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        for name in ("x.safetensors", "x.pt"):
            with output_file(tmp_path / name) as staged:
                write_checkpoint(Checkpoint({"weight": torch.zeros(3)}), staged)
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640
    finally:
        os.umask(before)


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    output = tmp_path / "x.nern"
    output.touch(0o600)
    with output_file(output) as staged:
        staged.write_bytes(b"new")
    assert stat.S_IMODE(output.stat().st_mode) == 0o600


@pytest.mark.parametrize("linked", [Path.symlink_to, Path.hardlink_to])
def test_an_input_is_not_overwritten_through_another_name(tmp_path: Path, linked: Callable[[Path, Path], None]) -> None:
    weights, other = tmp_path / "weights.pt", tmp_path / "other.nern"
    weights.write_bytes(b"the only copy")
    linked(other, weights)
    for output, given in ((other, weights), (weights, other)):
        assert refusal(output_file(output, inputs=[given])).code == "own_input"
    assert weights.read_bytes() == b"the only copy"


def test_a_file_of_the_data_set_is_an_input_too(tmp_path: Path) -> None:
    (tmp_path / "test.npz").write_bytes(b"images")
    assert refusal(output_file(tmp_path / "test.npz", inputs=[None, tmp_path])).code == "own_input"


def test_a_folder_gets_its_files_together(tmp_path: Path) -> None:
    folder, names = tmp_path / "new" / "out", ("a.json", "b.json", "optional.svg")
    with pytest.raises(ZeroDivisionError), output_folder(folder, names, parents=True) as staging:
        fail(staging / "a.json")
    assert list(tmp_path.iterdir()) == []
    with output_folder(folder, names, parents=True) as staging:
        for name in names[:2]:
            (staging / name).write_text("{}")
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "b.json"]


def test_a_folder_does_not_get_a_file_in_place_of_an_input(tmp_path: Path) -> None:
    (tmp_path / "importance.json").write_text("the input")
    given = output_folder(tmp_path, ["importance.json"], inputs=[tmp_path / "importance.json"])
    with pytest.raises(NernError) as refused, given:
        pytest.fail("the work has begun")
    assert refused.value.code == "own_input"


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", "{source}", "-o", "{source}"],
        ["encode", "{source}", "-o", "new.nern", "--report", "{source}"],
        ["encode", "{source}", "-o", "new.nern", "--report", "new.nern"],
        ["encode", "{source}", "-o", "{link}"],
        ["reconstruct", "{encoding}", "-o", "{encoding}"],
        ["reconstruct", "{encoding}", "-o", "{encoding}", "--service", "http://127.0.0.1:9"],
        ["report", "{source}", "{encoding}", "-o", "{encoding}"],
        ["compress-report", "{source}", "{encoding}", "--dataset", str(DIGITS), "-o", "{source}"],
        ["importance", "{importance}", "{encoding}", "-o", "."],
        ["submit", "{source}", "-o", "{source}", "--url", "http://127.0.0.1:9"],
        ["huggingface", "export", "{readme}", ".", "--overwrite"],
    ],
    ids=" ".join,
)
def test_no_command_overwrites_what_it_reads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"source": "source.safetensors", "encoding": "small.safetensors", "importance": "importance.safetensors"}
    contents = {"source": SOURCE, "encoding": ENCODING, "importance": SOURCE, "readme": ENCODING}
    files |= {"readme": "README.md"}
    for name, file in files.items():
        Path(file).write_bytes(contents[name].read_bytes())
    Path("link.nern").symlink_to("source.safetensors")
    given = [argument.format(**files, link="link.nern") for argument in arguments]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert nern(monkeypatch, *given) == 10
    assert "an input or another output of this command; choose another output." in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_standard_output_gets_the_encoding_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", "/dev/stdout", *QUICK) == 0
    printed = capfdbinary.readouterr()
    file = tmp_path / "x.nern"
    file.write_bytes(printed.out)
    assert len(read_encoding(file).document.layers) == 3
    assert b"file bytes" in printed.err


@pytest.mark.parametrize("name", ["new.pt", "new.safetensors", "new.ckpt"])
def test_an_encoding_does_not_get_the_name_of_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", name) == 2
    assert f"'{name}' has the suffix of a checkpoint" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_dash_is_no_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", "-") == 10
    assert "use /dev/stdout for standard output" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_gets_safetensors_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert nern(monkeypatch, "reconstruct", str(ENCODING), "-o", "/dev/stdout") == 0
    assert safetensors.torch.load(capfdbinary.readouterr().out)


def test_two_results_go_through_a_link_with_the_usual_permissions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "link.safetensors").symlink_to("weights.safetensors")
    assert nern(monkeypatch, "reconstruct", str(ENCODING), "-o", str(tmp_path / "link.safetensors")) == 0
    weights = tmp_path / "weights.safetensors"
    assert (tmp_path / "link.safetensors").is_symlink()
    (tmp_path / "ordinary").touch()
    assert weights.stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    assert safetensors.torch.load_file(weights)
