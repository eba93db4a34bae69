"""The recipe with the most measured accuracy per second on a CPU; `bench/fast_recipe.py` has the figures.

Muon and GELU; targets divided by one scale; reconstruction with all kernels weighted alike, then the squared difference
of the logits on blended images, with the reconstruction error as an anchor.
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

FAST = Recipe(
    default_seconds=150.0,
    images=ImageSettings(per_step=128, mixup=True),
    predictor=PredictorSettings(
        variant=PredictorVariant(activation="gelu"),
        scaled_targets=True,
        stored_dtype="float16",
        one_schedule=False,
        reconstruction=ReconstructionConfig(
            # A step of reconstruction takes about a tenth of the time of a distillation step.
            share=Share(seconds=0.4, steps=0.88),
            optimizer=OptimizerConfig(name="muon", learning_rate=0.05, bias_learning_rate=3e-3),
            sampling=SamplingConfig(kind="uniform", kernels_per_step=4096),
            loss="squared",
            mixed_precision_until=0.7,
        ),
        distillation=DistillationConfig(
            share=Share(seconds=0.6, steps=0.12),
            # A larger rate first undoes what reconstruction has learned, and ends worse.
            optimizer=OptimizerConfig(name="muon", learning_rate=0.001, bias_learning_rate=1e-4),
            # All kernels of the CIFAR ResNets pass gradients; for larger networks, a batch of this size.
            sampling=SamplingConfig(kind="uniform", kernels_per_step=131_072),
            refresh="sampled",
            # The squared difference of logits carries more information than the divergence of their probabilities.
            logit_distance="squared",
            reconstruction=LossTerm(weight=1.0),
        ),
    ),
)
