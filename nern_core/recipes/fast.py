"""What was measured to give the most accuracy per second on a CPU; `bench/` has the figures.

Muon and GELU; targets divided by one scale; reconstruction weighted by the square root of the Fisher
information where data is given, refinement by the curvature of the loss, then logit distillation with
the curvature as an anchor.
"""

from nern_core.optim import OptimizerConfig
from nern_core.recipes.recipe import Recipe
from nern_core.sampling import SamplingConfig
from nern_core.training.clock import Budget
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
        share=0.3,
        optimizer=OptimizerConfig(name="muon", learning_rate=0.05, bias_learning_rate=3e-3),
        sampling=SamplingConfig(kind="uniform", kernels_per_step=4096),
        loss="squared",
    ),
    refinement=RefinementConfig(
        share=0.4,
        optimizer=OptimizerConfig(name="muon", learning_rate=0.02, bias_learning_rate=1e-3),
        images=512,
    ),
    distillation=DistillationConfig(
        share=0.3,
        optimizer=OptimizerConfig(name="muon", learning_rate=0.003, bias_learning_rate=5e-4),
        # All kernels of the CIFAR ResNets pass gradients; of larger networks a batch of this size.
        sampling=SamplingConfig(kind="uniform", kernels_per_step=131_072),
        images_per_step=64,
        curvature_weight=1.0,
    ),
)
