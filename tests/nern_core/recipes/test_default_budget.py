import pytest
import torch

from nern_core.contract.options import EncodeOptions
from nern_core.inputs.source import EncodingInput, read_input
from nern_core.inputs.teacher import make_teacher
from nern_core.networks import find_architecture
from nern_core.recipes.data_free import DATA_FREE
from nern_core.recipes.default_budget import choose_budget, operations_per_image
from nern_core.recipes.fast import FAST
from nern_core.training.clock import Budget
from nern_core.training.teacher import Teacher
from tests.conftest import EXAMPLE

CPU = torch.device("cpu")
QUANTIZED = EncodeOptions(architecture="digits-cnn")
PREDICTOR = EncodeOptions(architecture="digits-cnn", hidden_size=64)


def digits(options: EncodeOptions) -> tuple[EncodingInput, Teacher]:
    source = read_input(EXAMPLE, options, reads_training_images=True)
    teacher = make_teacher(source, CPU, options, None, compares_features=False)
    assert teacher is not None
    return source, teacher


def test_operations_are_twice_the_multiplications_of_all_layers() -> None:
    _, teacher = digits(QUANTIZED)
    convolutions = 8 * 8 * 9 * (3 * 32 + 32 * 64) + 4 * 4 * 9 * 64 * 64
    assert operations_per_image(teacher) == 2 * (convolutions + 64 * 10)


def test_a_small_network_has_the_most_steps() -> None:
    source, teacher = digits(QUANTIZED)
    chosen = choose_budget(QUANTIZED, FAST, source, teacher, seconds=150)
    assert (chosen.budget, chosen.is_worthwhile) == (Budget(steps=500), True)


def test_a_large_network_has_few_steps_and_none_where_they_would_not_help() -> None:
    source, _ = digits(QUANTIZED)
    # Two convolutions on photographs instead of the network.
    large = Teacher(
        network=torch.nn.Sequential(torch.nn.Conv2d(3, 256, 3, padding=1), torch.nn.Conv2d(256, 256, 3, padding=1)),
        preprocessing=find_architecture("torchvision:resnet18").preprocessing,
        images=None,
    )
    chosen = choose_budget(QUANTIZED, FAST, source, large, seconds=150)
    assert (chosen.budget, chosen.is_worthwhile) == (Budget(steps=50), False)


def test_a_predictor_has_as_many_steps_as_its_own_cost_allows() -> None:
    source, teacher = digits(PREDICTOR)
    with_images = choose_budget(PREDICTOR, FAST, source, teacher, seconds=150).budget.steps
    alone = choose_budget(PREDICTOR, FAST, source, None, seconds=150).budget.steps
    assert with_images is not None
    assert alone is not None
    assert 2000 < with_images < alone <= 12_000


@pytest.mark.parametrize(("seconds", "images"), [(300.0, 2048), (0.001, 1)])
def test_images_are_made_in_their_share_of_the_time(seconds: float, images: int) -> None:
    source, teacher = digits(QUANTIZED)
    assert choose_budget(QUANTIZED, DATA_FREE, source, teacher, seconds).synthesized_images == images
