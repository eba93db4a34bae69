"""Every hostile file is read, or refused for the expected reason."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nern_core.contract.errors import NernError
from nern_core.formats.checkpoint_structure import read_structure
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.tensors.finite_weights import refuse_non_finite
from nern_core.tensors.kernels import select_layers
from tests.conftest import ROOT
from tests.hostile.corpus import corpus
from tests.hostile.forge import HostileFile

CANARY = Path(__file__).with_name("canary")
FILES = corpus(CANARY)
ROWS_OF_FILES = {*range(1, 5), *range(6, 14)}


@pytest.fixture(autouse=True)
def _no_code_runs() -> None:
    assert not CANARY.exists()


def refusal(read: Callable[[Path], object], path: Path) -> NernError | None:
    """Return the error of a refused file; None if it is read."""
    try:
        read(path)
    except NernError as error:
        return error
    return None


def read_weights(path: Path) -> None:
    """Read a checkpoint including its weights."""
    tensors = read_checkpoint(path).tensors
    refuse_non_finite(select_layers(tensors, ("all",), 0), tensors, ("all",))


def assert_ends(read: Callable[[Path], object], path: Path, code: str | None) -> None:
    """Assert that the file is read, or refused with this code and one short sentence."""
    error = refusal(read, path)
    assert (error and error.code) == code
    if error is not None:
        assert error.message.endswith(".")
        assert error.message.isprintable()
        assert len(error.message) < 400


def test_the_corpus_stands_for_every_row_of_the_threat_table_that_is_about_files() -> None:
    assert len(FILES) >= 60
    assert len({file.name for file in FILES}) == len(FILES)
    assert {file.row for file in FILES} == ROWS_OF_FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_file_is_read_or_refused_as_expected(file: HostileFile, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(file.content)
    assert_ends(read_structure, path, file.code if file.at_upload else None)
    assert_ends(read_checkpoint if file.at_upload else read_weights, path, file.code)
    assert not CANARY.exists()


MEASURE = """
import resource, sys
from pathlib import Path
from {module} import {reader}
from nern_core.contract.errors import NernError

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        {reader}(path)
    except NernError:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def growth(files: list[HostileFile], folder: Path, module: str, reader: str) -> int:
    """Return the growth in bytes of a process that reads all of these files."""
    for index, file in enumerate(files):
        (folder / str(index)).write_bytes(file.content)
    program = MEASURE.format(module=module, reader=reader)
    child = subprocess.run(
        [sys.executable, "-c", program, folder], cwd=ROOT, check=True, capture_output=True, text=True, timeout=200
    )
    return int(child.stdout) * 1024


@pytest.mark.slow
def test_telling_the_structure_of_all_files_takes_no_more_than_64_mebibytes(tmp_path: Path) -> None:
    assert growth(FILES, tmp_path, "nern_core.formats.checkpoint_structure", "read_structure") <= 64 * 2**20


def test_reading_bombs_takes_no_more_memory_than_is_always_allowed(tmp_path: Path) -> None:
    bombs = [file for file in FILES if file.row in {7, 8, 9} and len(file.content) < 2**21]
    assert len(bombs) > 40
    assert growth(bombs, tmp_path, "nern_core.tensors.checkpoint", "read_checkpoint") <= 128 * 2**20
