import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from nern_core.contract.errors import NernError
from nern_core.networks.arrays import array_batches, has_arrays
from tests.conftest import DIGITS

IDS = np.arange(70).reshape(70, 1)


def test_named_arrays_become_keyword_arguments_in_a_fixed_random_order(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{"inputs.ids": IDS, "inputs.scale": IDS / 2, "labels": IDS[:, 0]})  # type: ignore[arg-type] # its annotation has no names
    batches = list(array_batches(tmp_path / "x.npz"))
    assert has_arrays(tmp_path / "x.npz")
    assert [len(batch["ids"]) for batch in batches if isinstance(batch, dict)] == [32, 32, 6]
    first = batches[0]
    assert isinstance(first, dict)
    assert first["scale"].dtype == torch.float32
    assert torch.equal(first["ids"][:, 0], first["labels"])
    assert sorted(int(value) for batch in batches if isinstance(batch, dict) for value in batch["ids"]) == [*range(70)]
    assert first["labels"].tolist() != [*range(32)]


def test_one_array_is_the_only_argument(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"inputs": IDS, "labels": IDS[:, 0].copy()}, tmp_path / "x.safetensors")
    (inputs, labels), *_ = array_batches(tmp_path / "x.safetensors")
    assert torch.equal(torch.as_tensor(inputs)[:, 0], torch.as_tensor(labels))


def test_data_sets_of_images_and_other_files_are_none_of_arrays(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no arrays")
    (tmp_path / "zip").write_bytes(b"PK\x03\x04 and nothing more")
    for path in (DIGITS, DIGITS / "train.npz", tmp_path / "text", tmp_path / "zip", tmp_path / "missing"):
        assert not has_arrays(path)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        (
            {"inputs": IDS, "mask": IDS},
            "has an array 'mask', which is no argument by its name; rename it to 'inputs.mask'",
        ),
        ({"inputs": IDS, "inputs.b": IDS}, "has `inputs` and 'inputs.b'"),
        ({"inputs.a": IDS, "inputs.b": IDS[:3]}, "an array 'inputs.b' with 3 rows, and 'inputs.a' has 70"),
        ({"inputs": IDS[:0]}, "an array 'inputs' with 0 rows; all need one row"),
        ({"inputs": np.array(1)}, "an array 'inputs' that is a single number; all need one row for each example"),
        ({"inputs": IDS, "labels": IDS / 2}, "must be one integer for each example"),
        ({"inputs": np.array([{}])}, "is not a data set of arrays"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], sentence: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type] # its annotation has no names
    with pytest.raises(NernError, match=sentence) as error:
        next(array_batches(tmp_path / "x.npz"))
    assert error.value.code == "bad_data"


def archive(path: Path, names: Sequence[str], content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, content)
    return path


def array(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


def test_an_archive_that_zipfile_cannot_read_is_none_of_arrays(tmp_path: Path) -> None:
    good = archive(tmp_path / "good", ["inputs\u00e9.npy"], b"x").read_bytes()
    (tmp_path / "name").write_bytes(good.replace("\u00e9".encode(), b"\xff\xfe"))
    entry = good.index(b"PK\x01\x02")
    (tmp_path / "version").write_bytes(good[: entry + 6] + b"\x63" + good[entry + 7 :])
    assert not has_arrays(tmp_path / "name")
    assert not has_arrays(tmp_path / "version")


def test_rows_without_values_are_refused_before_they_are_counted(tmp_path: Path) -> None:
    for rows in (2**33, 2**60):
        path = archive(tmp_path / "x.npz", ["inputs.npy"], array(f"({rows}, 0)"))
        with pytest.raises(NernError, match="have no values") as error:
            next(array_batches(path))
        assert error.value.code == "bad_data"


def test_more_arrays_than_a_network_has_arguments_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.npz", [f"inputs.{number}.npy" for number in range(1001)], array("(1,)") + b"\0" * 4)
    with pytest.raises(NernError, match="it has 1,001 arrays, and may have 1,000"):
        next(array_batches(path))


def test_numbers_of_a_type_without_rows_are_refused(tmp_path: Path) -> None:
    header = b'{"inputs":{"dtype":"F4","shape":[4,2],"data_offsets":[0,4]}}'
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(NernError, match="has the type float4_e2m1fn_x2"):
        next(array_batches(tmp_path / "x.safetensors"))
