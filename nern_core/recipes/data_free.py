"""The recipe `fast` for those who have no data set: images made from the network stand in for its training images.

Distillation is on them alone. A network without batch normalization remembers nothing that images could
be made of, so it gets reconstruction alone.
"""

from dataclasses import replace

from nern_core.recipes.fast import FAST
from nern_core.training.synthesis import SynthesisConfig

DATA_FREE = replace(
    FAST,
    default_seconds=300.0,
    synthesis=SynthesisConfig(
        images=2048, images_per_batch=256, steps=60, learning_rate=0.1, class_weight=0.1, share=0.2
    ),
    distillation=replace(FAST.distillation, images="synthesized"),
)
