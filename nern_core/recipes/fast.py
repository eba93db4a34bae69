"""What was measured to give the most accuracy per second on a CPU; `bench/` has the figures.

Muon and GELU; targets divided by one scale; reconstruction weighted by the square root of the Fisher
information where data is given, refinement by the curvature of the loss, then logit distillation with
the curvature as an anchor.
"""

from nern_core.optim import OptimizerConfig
from nern_core.recipes.recipe import Recipe
from nern_core.sampling import SamplingConfig
from nern_core.training.clock import Budget, Share
from nern_core.training.distill import DistillationConfig
from nern_core.training.reconstruct import ReconstructionConfig
from nern_core.training.refine import RefinementConfig

FAST = Recipe(
    activation="gelu",
    scaled_targets=True,
    stored_dtype="float16",
    default_budget=Budget(seconds=150),
    one_schedule=False,
    reconstruction=ReconstructionConfig(
        share=Share(seconds=0.4, steps=0.82),
        optimizer=OptimizerConfig(name="muon", learning_rate=0.05, bias_learning_rate=3e-3),
        sampling=SamplingConfig(kind="uniform", kernels_per_step=4096),
        loss="squared",
    ),
    refinement=RefinementConfig(
        share=Share(seconds=0.25, steps=0.11),
        optimizer=OptimizerConfig(name="muon", learning_rate=0.02, bias_learning_rate=1e-3),
        images=512,
    ),
    distillation=DistillationConfig(
        share=Share(seconds=0.35, steps=0.07),
        # A larger rate undoes at first what refinement has reached, and ends worse.
        optimizer=OptimizerConfig(name="muon", learning_rate=0.001, bias_learning_rate=1e-4),
        # All kernels of the CIFAR ResNets pass gradients; of larger networks a batch of this size.
        sampling=SamplingConfig(kind="uniform", kernels_per_step=131_072),
        images_per_step=128,
        curvature_weight=1.0,
    ),
)
