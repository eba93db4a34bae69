"""Default number of training steps: half a minute for the digits example, eight minutes for a ResNet20 on two cores.

It follows from the operations of a step, never from the speed of the machine: a slow machine takes longer and makes the
same file. The rate was measured on the networks of `bench/results/reproduce.json` and `rate_accuracy.json`.
"""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from nern_core.contract.options import EncodeOptions
from nern_core.inputs.source import EncodingInput
from nern_core.networks.model_inputs import call
from nern_core.recipes.recipe import Recipe
from nern_core.representations.protocol import FEWEST_OPERATIONS_PER_STEP
from nern_core.representations.registry import find_representation
from nern_core.training.clock import Budget
from nern_core.training.teacher import Teacher

_OPERATIONS_PER_SECOND = 2e11
# A step runs a teacher and a student on each image; the student's gradients take twice as long as its outputs.
_ANSWERS_PER_IMAGE = 4
_FEWEST_STEPS = 50
# With fewer steps, training does not improve quantized weights.
_FEWEST_WORTHWHILE = 25


@dataclass(frozen=True, slots=True)
class DefaultBudget:
    """Number of training steps, and of images to synthesize if the recipe uses any.

    `is_worthwhile` is True if this many steps improve weights that are already rounded well.
    """

    budget: Budget
    synthesized_images: int
    is_worthwhile: bool


def choose_budget(
    options: EncodeOptions, recipe: Recipe, source: EncodingInput, teacher: Teacher | None, seconds: float
) -> DefaultBudget:
    """Choose the steps that two cores take in `seconds` at best, within bounds."""
    answer = 0.0 if teacher is None else operations_per_image(teacher)
    images = 0 if teacher is None else teacher.examples_per_step(recipe.images.per_step)
    distillation = _ANSWERS_PER_IMAGE * answer * images
    representation = find_representation(options.representation_kind)
    settings = recipe.settings(options.representation_kind)
    step = representation.operations_per_step(options, settings, source.layers, distillation)
    affordable = seconds * _OPERATIONS_PER_SECOND / max(step, FEWEST_OPERATIONS_PER_STEP)
    return DefaultBudget(
        budget=Budget(steps=_two_digits(min(max(affordable, _FEWEST_STEPS), representation.most_default_steps))),
        synthesized_images=_affordable_images(recipe, answer, seconds),
        is_worthwhile=affordable >= _FEWEST_WORTHWHILE,
    )


@torch.no_grad()
def operations_per_image(teacher: Teacher) -> float:
    """Count the additions and multiplications of a network's forward pass for one image or other example."""
    example = teacher.example()
    if example is None:
        return 0.0
    inputs, examples = example
    with FlopCounterMode(display=False) as counter:
        call(teacher.network, inputs)
    return float(counter.get_total_flops()) / examples


def _affordable_images(recipe: Recipe, answer: float, seconds: float) -> int:
    """Count the images that can be synthesized in the recipe's share of the time."""
    config = recipe.synthesis
    if config is None or not answer:
        return 0
    # Each step computes gradients of the image.
    image = config.steps * (_ANSWERS_PER_IMAGE - 1) * answer
    affordable = int(config.share * seconds * _OPERATIONS_PER_SECOND / image)
    return max(min(config.images, affordable), 1)


def _two_digits(steps: float) -> int:
    """Round down to two digits: more precision is not needed, and such numbers are easier to remember."""
    unit: int = 10 ** max(0, len(str(int(steps))) - 2)
    return int(steps) // unit * unit
