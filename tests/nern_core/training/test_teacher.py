from pathlib import Path

import pytest
import torch
from torch import nn

from nern_core.contract.errors import NernError
from nern_core.networks import Architecture, build_network, find_architecture
from nern_core.training.teacher import StrongerTeacher, read_stronger_teacher

SMALL = find_architecture("cifar-resnet20")
LARGE = find_architecture("cifar-resnet32")


def network(architecture: Architecture, classes: int) -> nn.Module:
    torch.manual_seed(0)
    return build_network(architecture, architecture.build(classes).state_dict())


def stronger(folder: Path, architecture: Architecture, classes: int) -> StrongerTeacher:
    torch.save(architecture.build(classes).state_dict(), folder / "teacher.pt")
    return StrongerTeacher(checkpoint=folder / "teacher.pt", architecture=architecture.name)


def test_a_teacher_may_be_of_another_architecture(tmp_path: Path) -> None:
    found = read_stronger_teacher(stronger(tmp_path, LARGE, 10), network(SMALL, 10), SMALL.preprocessing, tmp_path)
    assert not found.training
    assert found(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    expected = torch.load(tmp_path / "teacher.pt", weights_only=True)
    assert torch.equal(found.state_dict()["conv1.weight"], expected["conv1.weight"])


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NernError, match="The teacher has 100 classes and the network has 10") as error:
        read_stronger_teacher(stronger(tmp_path, LARGE, 100), network(SMALL, 10), SMALL.preprocessing, tmp_path)
    assert error.value.code == "teacher_classes"


def test_a_teacher_of_other_inputs_is_refused(tmp_path: Path) -> None:
    digits = find_architecture("digits-cnn")
    with pytest.raises(NernError, match="another size or normalization") as error:
        read_stronger_teacher(stronger(tmp_path, digits, 10), network(SMALL, 10), SMALL.preprocessing, tmp_path)
    assert error.value.code == "teacher_inputs"
