from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nern_core.representations.predicted import predictions
from nern_core.representations.predicted.predictions import Predictions
from nern_core.representations.predicted.predictor import Predictor
from nern_core.representations.predicted.sampling import SamplingConfig
from nern_core.representations.predicted.targets import Targets

BATCH = SamplingConfig(kind="uniform", kernels_per_step=10)


def exact(predictor: Predictor, targets: Targets) -> dict[str, Tensor]:
    with torch.no_grad():
        return {head: predictor.at(target.coordinates, head) for head, target in targets.heads.items()}


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("refresh", ["all", "sampled"])
def test_all_kernels_are_first_as_the_predictor_says(predictor: Predictor, targets: Targets, refresh: str) -> None:
    subject = Predictions(BATCH, predictor, targets, generator(), refresh)  # type: ignore[arg-type] # one of two
    found = subject.of_all(subject.draw_for_all())
    expected = exact(predictor, targets)
    for head in expected:
        torch.testing.assert_close(found[head].detach(), expected[head])


def test_kernels_that_are_not_drawn_stay_as_they_were_last_predicted(predictor: Predictor, targets: Targets) -> None:
    subject = Predictions(BATCH, predictor, targets, generator(), "sampled")
    before = {head: values.detach() for head, values in subject.of_all(subject.draw_for_all()).items()}
    with torch.no_grad():
        for parameter in predictor.parameters():
            parameter.add_(0.1)
    after, now = subject.of_all(subject.draw_for_all())["3x3"], exact(predictor, targets)["3x3"]
    drawn = torch.autograd.grad(after.sum(), predictor.get_parameter("heads.3x3.bias"))[0][0]
    stale = (after.detach() == before["3x3"]).all(dim=1)
    assert 0 < int(drawn) == int((~stale).sum()) < len(after)
    torch.testing.assert_close(after[~stale].detach(), now[~stale])
    assert torch.equal(after[stale].detach(), before["3x3"][stale])


def test_what_was_drawn_is_remembered(predictor: Predictor, targets: Targets) -> None:
    subject = Predictions(BATCH, predictor, targets, generator(), "sampled")
    subject.of_all(subject.draw_for_all())
    with torch.no_grad():
        for parameter in predictor.parameters():
            parameter.add_(0.1)
    for _ in range(200):
        found = subject.of_all(subject.draw_for_all())
    expected = exact(predictor, targets)
    for head in expected:
        torch.testing.assert_close(found[head].detach(), expected[head])


def test_a_batch_is_no_larger_than_memory_allows(
    predictor: Predictor, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "_MOST_ACTIVATIONS", predictor.config.hidden_size * 19)
    drawn = Predictions(replace(BATCH, kernels_per_step=10**6), predictor, targets, generator()).draw_batch()
    assert [len(indices) for indices in drawn] == [16, 3]


@pytest.mark.parametrize(("kernels", "hidden_size"), [(29_744, 200), (94_256, 360)])
def test_all_kernels_of_the_cifar_resnets_pass_gradients(kernels: int, hidden_size: int) -> None:
    assert kernels * hidden_size <= predictions._MOST_ACTIVATIONS


def test_what_was_predicted_is_counted_and_counted_on(predictor: Predictor, targets: Targets) -> None:
    subject = Predictions(BATCH, predictor, targets, generator(), "sampled")
    for _ in range(3):
        subject.of_batch(subject.draw_batch())
    assert subject.made == 3 * 10
    subject.of_all(subject.draw_for_all())
    # Each kernel of the batch once, even if drawn several times.
    assert 3 * 10 + targets.kernels < subject.made <= 4 * 10 + targets.kernels
    again = Predictions(BATCH, predictor, targets, generator(), "sampled")
    again.restore(subject.state())
    assert again.made == subject.made


def test_who_sees_all_kernels_has_predicted_all_of_them_in_each_step(predictor: Predictor, targets: Targets) -> None:
    subject = Predictions(SamplingConfig(kind="all"), predictor, targets, generator())
    for _ in range(3):
        subject.of_all(subject.draw_for_all())
    assert subject.made == 3 * targets.kernels
