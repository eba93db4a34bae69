import torch
from torch import nn

from nern_core.training.student import Student


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))


INPUTS = torch.tensor([[1.0, -2.0, 0.5], [-1.0, 2.0, -0.5]])


def test_it_gives_what_the_network_with_these_weights_would() -> None:
    teacher, other = network(), network()
    weights = {"2.weight": torch.eye(3), "0.bias": torch.ones(3)}
    other.load_state_dict(other.state_dict() | weights)
    assert torch.equal(Student(teacher).logits(weights, INPUTS), other(INPUTS))


def test_what_is_changed_stays_changed() -> None:
    student = Student(network(), changed={"2.bias": torch.full((3,), 7.0)})
    difference = student.logits({}, INPUTS) - network()(INPUTS)
    bias = network().state_dict()["2.bias"]
    torch.testing.assert_close(difference, (7.0 - bias).expand(2, 3))


def test_a_tensor_that_repeats_another_has_its_weights() -> None:
    student = Student(network(), tied={"2.weight": "0.weight"})
    weight = torch.eye(3)
    expected = Student(network()).logits({"0.weight": weight, "2.weight": weight}, INPUTS)
    assert torch.equal(student.logits({"0.weight": weight}, INPUTS), expected)


def test_gradients_reach_the_weights() -> None:
    weight = torch.eye(3).requires_grad_()
    Student(network().requires_grad_(requires_grad=False)).logits({"2.weight": weight}, INPUTS).sum().backward()
    assert weight.grad is not None
    assert float(weight.grad.abs().sum()) > 0
