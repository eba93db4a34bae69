from pathlib import Path

import pytest
from torch import nn

from nern_core.contract.errors import NernError
from nern_core.networks.own_code import import_architecture, is_own_code

FILE = """
from torch import nn
class Net(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)
def sized(size):
    return nn.Linear(size, 2)
made = nn.Linear(4, 2)
number = 3
def text():
    return "text"
def broken():
    raise ValueError("no weights here")
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_networks.py").write_text(FILE)
    return tmp_path / "own_networks.py"


def network_of(name: str) -> nn.Module:
    found = import_architecture(name)
    assert found is not None
    return found.build(10)


@pytest.mark.parametrize("name", ["Net", "made"])
def test_a_class_or_a_network_of_a_file_is_built(file: Path, name: str) -> None:
    found = import_architecture(f"{file}:{name}")
    assert found is not None
    assert found.name == f"{file}:{name}"
    assert isinstance(found.build(10), nn.Linear)
    assert found.build(10) is not found.build(10)


def test_a_function_of_a_module_is_built(file: Path) -> None:
    found = import_architecture("torch.nn:Identity")
    assert found is not None
    assert isinstance(found.build(10), nn.Identity)


def test_a_name_without_a_module_is_none() -> None:
    assert import_architecture("acme:nothing") is None
    assert [is_own_code(name) for name in ("a.b:c", "./a.py:C", "a.py", "resnet18", ":c", "a:")] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("attribute", "sentence"),
    [
        ("missing", "cannot be imported: AttributeError"),
        ("number", "is of the type int; give a network"),
        ("text", "returned a str instead of a network"),
        ("broken", "cannot be built: ValueError: no weights here."),
        ("sized", "Write a function without arguments"),
    ],
)
def test_code_that_makes_no_network_is_refused(file: Path, attribute: str, sentence: str) -> None:
    with pytest.raises(NernError, match=sentence) as error:
        network_of(f"{file}:{attribute}")
    assert error.value.code == "broken_architecture"


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NernError, match="there is no file"):
        import_architecture(f"{tmp_path}/none.py:Net")
