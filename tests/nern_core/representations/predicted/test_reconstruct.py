import pytest
import torch

from nern_core.representations.predicted.predictions import Predictions
from nern_core.representations.predicted.predictor import FilterSpan, Predictor
from nern_core.representations.predicted.reconstruct import ReconstructionConfig, ReconstructionLoss
from nern_core.representations.predicted.sampling import SamplingConfig
from nern_core.representations.predicted.targets import Targets
from nern_core.training.clock import Share
from nern_core.training.optim import OptimizerConfig

ALL = SamplingConfig(kind="uniform", kernels_per_step=10**6)
OPTIMIZER = OptimizerConfig(name="muon", learning_rate=0.01)


def errors(predictor: Predictor, targets: Targets) -> torch.Tensor:
    predicted = Predictions(ALL, predictor, targets, torch.Generator()).of_all(())
    return torch.cat([(predicted[head] - target.kernels).flatten() for head, target in targets.heads.items()])


def test_the_published_loss_is_the_rmse_over_all_weights(predictor: Predictor, targets: Targets) -> None:
    config = ReconstructionConfig(share=Share(seconds=1.0, steps=1.0), optimizer=OPTIMIZER, sampling=ALL, loss="rmse")
    loss = ReconstructionLoss(config, predictor, targets, torch.Generator())(0.0)
    torch.testing.assert_close(loss, errors(predictor, targets).square().mean().sqrt())


def test_of_the_rmse_over_all_weights_only_the_sampled_kernels_pass_gradients(
    predictor: Predictor, targets: Targets
) -> None:
    layer = SamplingConfig(kind="sequential-layer")
    config = ReconstructionConfig(share=Share(seconds=1.0, steps=1.0), optimizer=OPTIMIZER, sampling=layer, loss="rmse")
    loss = ReconstructionLoss(config, predictor, targets, torch.Generator())(0.0)
    torch.testing.assert_close(loss, errors(predictor, targets).square().mean().sqrt())
    (gradient,) = torch.autograd.grad(loss, predictor.get_parameter("heads.3x3.bias"))
    of_layer_a = predictor.of_filters([FilterSpan(0, 0, 4)], "3x3").detach() - targets.heads["3x3"].kernels[:12]
    weights = sum(target.kernels.numel() for target in targets.heads.values())
    torch.testing.assert_close(gradient, of_layer_a.sum(dim=0) / (weights * loss.detach()))


def test_a_batch_has_kernels_of_every_shape_in_proportion(predictor: Predictor, targets: Targets) -> None:
    config = SamplingConfig(kind="uniform", kernels_per_step=19)
    subject = Predictions(config, predictor, targets, torch.Generator())
    drawn = subject.of_batch(subject.draw_batch())
    assert {head: (len(indices), values.shape[1]) for head, (indices, values) in drawn.items()} == {
        "3x3": (16, 9),
        "5x5": (3, 25),
    }


def test_importance_weighs_kernels(predictor: Predictor, targets: Targets) -> None:
    config = ReconstructionConfig(
        share=Share(seconds=1.0, steps=1.0), optimizer=OPTIMIZER, sampling=ALL, loss="squared"
    )
    nothing = {head: torch.zeros(len(target.kernels)) for head, target in targets.heads.items()}
    loss = ReconstructionLoss(config, predictor, targets, torch.Generator().manual_seed(0), nothing)(0.0)
    assert float(loss.detach()) == 0


@pytest.mark.parametrize("kind", ["rmse", "squared"])
def test_either_loss_alone_reaches_every_parameter(predictor: Predictor, targets: Targets, kind: str) -> None:
    config = ReconstructionConfig(share=Share(seconds=1.0, steps=1.0), optimizer=OPTIMIZER, sampling=ALL, loss=kind)  # type: ignore[arg-type] # one of two
    ReconstructionLoss(config, predictor, targets, torch.Generator())(0.0).backward()
    assert all(p.grad is not None and float(p.grad.norm()) > 0 for p in predictor.parameters())


@pytest.mark.parametrize(("fraction", "dtype"), [(0.0, torch.bfloat16), (0.69, torch.bfloat16), (0.7, torch.float32)])
def test_precision_is_mixed_until_a_fraction_of_the_phase(
    predictor: Predictor, targets: Targets, fraction: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nern_core.training.precision.has_bfloat16_units", lambda device: True)
    share = Share(seconds=1.0, steps=1.0)
    config = ReconstructionConfig(
        share=share, optimizer=OPTIMIZER, sampling=ALL, loss="squared", mixed_precision_until=0.7
    )
    computed = []
    predictor.hidden[0].register_forward_hook(lambda module, inputs, output: computed.append(output.dtype))
    ReconstructionLoss(config, predictor, targets, torch.Generator())(fraction)
    assert set(computed) == {dtype}
