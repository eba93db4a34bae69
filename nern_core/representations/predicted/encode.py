"""Represent a checkpoint by a predictor."""

import torch
from torch import Tensor

from nern_core.container import Encoding, PredictedWeights, PredictorRepresentation
from nern_core.contract.kernel_policy import default_hidden_size
from nern_core.contract.progress import Phase
from nern_core.encoding.run import EncodingRun
from nern_core.representations.predicted.fit import fit
from nern_core.representations.predicted.predictor import Predictor, PredictorConfig
from nern_core.representations.predicted.targets import make_targets
from nern_core.training.observer import TRAINING_STARTS


def predict(run: EncodingRun) -> Encoding:
    """Order the kernels and fit a predictor to them by the recipe."""
    options, recipe, source = run.options, run.recipe, run.source
    run.stopwatch.begin(Phase.ORDERING, at=0.0)
    targets = make_targets(
        run.tensors,
        source.layers,
        options.permutation,
        scaled=recipe.scaled_targets,
        distilled=run.teacher is not None,
        tied=source.tied,
    )
    predictor = _new_predictor(run)
    with run.stopwatch.training(Phase.RECONSTRUCTION, at=TRAINING_STARTS) as seconds:
        trained = fit(
            recipe,
            predictor.to(run.device),
            targets.to(run.device),
            run.teacher,
            run.budget,
            run.generator,
            run.observer,
            options.rounds,
            run.snapshots,
        )
        seconds.update(trained)
    stored = getattr(torch, recipe.stored_dtype)
    parameters: dict[str, Tensor] = {
        name: parameter.detach().cpu().to(stored).contiguous() for name, parameter in predictor.named_parameters()
    }
    not_kept = {layer.name for layer in source.layers} | set(source.tied)
    representation = PredictorRepresentation(
        predictor=predictor.config,
        permutation=options.permutation,
        scale=targets.scale,
        layer_exponents=targets.exponents,
    )
    return Encoding(
        document=run.document(representation, dict(source.tied)),
        weights=PredictedWeights(parameters, targets.orders),
        kept={name: tensor for name, tensor in run.tensors.items() if name not in not_kept},
    )


def _new_predictor(run: EncodingRun) -> Predictor:
    layers = run.source.layers
    hidden_size = run.options.hidden_size or default_hidden_size(sum(layer.weights for layer in layers))
    with torch.random.fork_rng():
        torch.manual_seed(run.options.seed)
        return Predictor(PredictorConfig(hidden_size=hidden_size, variant=run.recipe.predictor), layers)
