import subprocess
import sys

import pytest

import nern_core
from nern_core.contract.options import EncodeOptions
from nern_core.encoder import encode
from tests.conftest import ROOT


def test_the_public_names_are_these() -> None:
    assert nern_core.__all__ == [
        "Arithmetic",
        "Checkpoint",
        "DecodedArrays",
        "EncodeOptions",
        "Encoding",
        "EncodingResult",
        "NernError",
        "Progress",
        "Report",
        "decode",
        "decode_arrays",
        "decode_encoding",
        "decode_kernel",
        "decode_layer",
        "encode",
        "load",
        "measure_sizes",
        "open_comparison",
        "read_checkpoint",
        "read_encoding",
        "write_checkpoint",
        "write_encoding",
    ]


@pytest.mark.parametrize("name", nern_core.__all__)
def test_every_public_name_loads_what_it_is_called(name: str) -> None:
    assert getattr(nern_core, name).__name__ == name


def test_functions_stay_callable_after_their_modules_are_imported() -> None:
    assert nern_core.encode is encode
    assert nern_core.EncodeOptions is EncodeOptions


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'encoded'"):
        _ = nern_core.encoded


def test_importing_the_package_loads_no_torch() -> None:
    program = "import sys, nern_core, nern_core.contract.options\nassert not {'torch', 'numpy'} & set(sys.modules)\n"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
