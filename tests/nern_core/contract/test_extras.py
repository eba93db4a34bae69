from nern_core.contract.extras import extra_error
from tests.conftest import ROOT


def test_a_missing_extra_is_one_sentence_with_the_command_that_installs_it() -> None:
    error = extra_error("ONNX files need", "onnx")
    assert error.code == "missing_extra"
    assert error.message == "ONNX files need the extra `onnx`: pip install 'nern[onnx]'."


def test_the_method_has_one_place_for_this_sentence() -> None:
    wording = [path.name for path in (ROOT / "nern_core").rglob("*.py") if "pip install 'nern" in path.read_text()]
    assert wording == ["extras.py"]
