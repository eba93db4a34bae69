"""The published settings (NeRN's CIFAR-10 ResNet configurations), for comparison with the paper.

Ranger with gradient centralization, 350 epochs of 196 batches, 4096 kernels per step with a fifth of the batches
weighted by magnitude, RMSE + 1e-4 feature maps + 1e-4 logits after a warm-up of 10,000 steps. The published ResNet20
configuration has no warm-up; ResNet56's is used for all.
"""

from nern_core.recipes.recipe import Recipe
from nern_core.representations.predicted.distill import DistillationConfig, LossTerm
from nern_core.representations.predicted.predictor import PredictorVariant
from nern_core.representations.predicted.reconstruct import ReconstructionConfig
from nern_core.representations.predicted.sampling import SamplingConfig
from nern_core.representations.predicted.settings import PredictorSettings
from nern_core.training.clock import Share
from nern_core.training.image_source import ImageSettings
from nern_core.training.optim import OptimizerConfig

_STEPS = 350 * 196
_WARM_UP = Share(seconds=10_000 / _STEPS, steps=10_000 / _STEPS)
_RANGER = OptimizerConfig(name="ranger", learning_rate=5e-3, weight_decay=1e-3, final_learning_rate=1e-6)
_SAMPLING = SamplingConfig(kind="magnitude", kernels_per_step=4096)

PAPER = Recipe(
    default_steps=_STEPS,
    images=ImageSettings(per_step=256),
    predictor=PredictorSettings(
        variant=PredictorVariant(),
        scaled_targets=False,
        stored_dtype="float32",
        one_schedule=True,
        reconstruction=ReconstructionConfig(share=_WARM_UP, optimizer=_RANGER, sampling=_SAMPLING, loss="rmse"),
        distillation=DistillationConfig(
            share=Share(seconds=1 - _WARM_UP.seconds, steps=1 - _WARM_UP.steps),
            optimizer=_RANGER,
            sampling=_SAMPLING,
            logits=LossTerm(weight=1e-4),
            logit_distance="published",
            features=LossTerm(weight=1e-4),
            reconstruction=LossTerm(weight=1.0),
        ),
    ),
)
