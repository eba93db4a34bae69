"""The recipe `fast` without a data set: images made from the network replace its training images.

Only these images are used for distillation. A network without batch normalization has no statistics to make images
from, so it gets reconstruction alone.
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
    images=replace(FAST.images, source="synthesized"),
)
