"""Represent a checkpoint by a predictor."""

import torch
from torch import Tensor

from nern_core.container.encoding import Encoding
from nern_core.contract.kernel_policy import default_hidden_size
from nern_core.contract.progress import Phase
from nern_core.inputs.task import EncodingTask, TrainingPlan
from nern_core.representations.predicted.predictor import Predictor, PredictorConfig, PredictorVariant
from nern_core.representations.predicted.settings import PredictorSettings
from nern_core.representations.predicted.stages import train_predictor
from nern_core.representations.predicted.targets import make_targets
from nern_core.representations.predicted.weights import PredictedWeights, PredictorDescription
from nern_core.training.observer import TRAINING_STARTS


def encode_with_predictor(
    task: EncodingTask, training: TrainingPlan, settings: PredictorSettings
) -> Encoding[PredictedWeights]:
    """Order the kernels and train a predictor for them. Raises `NernError` (`diverged`)."""
    options, source = task.options, task.source
    training.stopwatch.begin(Phase.ORDERING, at=0.0)
    targets = make_targets(
        task.tensors,
        source.layers,
        options.permutation,
        scaled=settings.scaled_targets,
        distilled=task.teacher is not None,
        tied=source.tied,
    )
    predictor = _new_predictor(task, settings.variant)
    with training.stopwatch.training(Phase.RECONSTRUCTION, at=TRAINING_STARTS) as seconds:
        trained = train_predictor(
            settings,
            training.images,
            predictor.to(task.device),
            targets.to(task.device),
            task.teacher,
            training.budget,
            training.generator,
            training.observer,
            options.rounds,
            training.snapshots,
        )
        seconds.update(trained)
    stored = getattr(torch, settings.stored_dtype)
    parameters: dict[str, Tensor] = {
        name: parameter.detach().cpu().to(stored).contiguous() for name, parameter in predictor.named_parameters()
    }
    not_kept = {layer.name for layer in source.layers} | set(source.tied)
    description = PredictorDescription(
        predictor=predictor.config,
        permutation=options.permutation,
        scale=targets.scale,
        layer_exponents=targets.exponents,
    )
    return Encoding(
        document=task.document(description.as_json(), source.tied),
        weights=PredictedWeights(description, parameters, targets.orders),
        kept={name: tensor for name, tensor in task.tensors.items() if name not in not_kept},
    )


def _new_predictor(task: EncodingTask, variant: PredictorVariant) -> Predictor:
    layers = task.source.layers
    hidden_size = task.options.hidden_size or default_hidden_size(sum(layer.weights for layer in layers))
    with torch.random.fork_rng():
        torch.manual_seed(task.options.seed)
        return Predictor(PredictorConfig(hidden_size=hidden_size, variant=variant), layers)
