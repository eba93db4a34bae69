import re

import pytest

from nern_core.contract.catalogue import architectures, network_structure
from nern_core.contract.errors import NernError
from nern_core.formats.plain_names import plain_names
from nern_core.tensors.name_matching import match_names

RESNET = network_structure("cifar-resnet20")
SHAPES = RESNET.with_classes(10)


def renamed(pattern: str, replacement: str) -> dict[str, tuple[int, ...]]:
    return {re.sub(pattern, replacement, name): shape for name, shape in SHAPES.items()}


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"^", "model."),
        (r"^", "module."),
        (r"^", "_orig_mod."),
        (r"^", "model._orig_mod."),
        (r"^", "module.model._orig_mod."),
        (r"^", "net.backbone."),
        (r"^layer1\.", "layer1._orig_mod."),
        (r"^(layer\d)\.", r"\1.module."),
    ],
)
def test_what_wrappers_add_to_names_is_removed(pattern: str, replacement: str) -> None:
    given = renamed(pattern, replacement)
    match = match_names(given, RESNET)
    assert list(match.names.values()) == list(SHAPES)
    assert match.changes
    assert match.classes == 10


def test_names_that_fit_are_left_alone_and_nothing_is_said() -> None:
    match = match_names(SHAPES, RESNET)
    assert match.names == {name: name for name in SHAPES}
    assert match.changes == ()


def test_the_counter_of_an_averaged_model_is_no_tensor_of_the_network() -> None:
    match = match_names({"n_averaged": (), **renamed("^", "module.")}, RESNET)
    assert "n_averaged" not in match.names
    assert "'n_averaged'" in match.changes[-1]


def test_tensors_beside_the_prefixed_network_are_refused_with_the_key_that_leaves_them_out() -> None:
    with pytest.raises(NernError, match="also has a tensor 'loss.weight'; .*`key`, such as 'model'") as error:
        match_names({**renamed("^", "model."), "loss.weight": (10,)}, RESNET)
    assert error.value.code == "architecture_mismatch"


def test_two_networks_that_fit_are_named_instead_of_one_being_chosen() -> None:
    with pytest.raises(NernError, match="under 'student', 'teacher'; .*`key`, such as 'student'") as error:
        match_names(renamed("^", "teacher.") | renamed("^", "student."), RESNET)
    assert error.value.code == "ambiguous_checkpoint"


def test_a_network_beside_its_copy_with_a_prefix_is_ambiguous() -> None:
    with pytest.raises(NernError) as error:
        match_names(SHAPES | renamed("^", "ema."), RESNET)
    assert error.value.code == "ambiguous_checkpoint"


def test_old_names_of_a_densenet_are_those_of_torchvision() -> None:
    densenet = network_structure("torchvision:densenet121")
    shapes = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)\.", r"\1.\2.", name): shape
        for name, shape in densenet.with_classes(1000).items()
        if not name.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in shapes
    match = match_names(shapes, densenet)
    assert match.names["features.denseblock1.denselayer1.norm.1.weight"] == (
        "features.denseblock1.denselayer1.norm1.weight"
    )
    assert len(match.names) == len(shapes)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model.conv1.weight": None}, r"it has no tensor 'conv1\.weight'\.$"),
        ({"model.extra": (1,)}, r"it has an extra tensor 'extra'\.$"),
        (
            {"model.conv1.weight": (16, 1, 3, 3)},
            r"tensor 'conv1\.weight' has shape \(16, 1, 3, 3\), not \(16, 3, 3, 3\)",
        ),
    ],
)
def test_a_mismatch_behind_a_prefix_is_told_of_the_network_behind_it(
    change: dict[str, tuple[int, ...] | None], sentence: str
) -> None:
    given = renamed("^", "model.") | change
    with pytest.raises(NernError, match=sentence) as error:
        match_names({name: shape for name, shape in given.items() if shape is not None}, RESNET)
    assert error.value.code == "architecture_mismatch"


def test_another_depth_of_the_same_family_does_not_fit() -> None:
    with pytest.raises(NernError, match="does not fit the architecture cifar-resnet20"):
        match_names(network_structure("cifar-resnet32").with_classes(10), RESNET)


def test_no_network_has_modules_that_are_named_like_wrappers() -> None:
    for found in architectures():
        parts = {part for name in network_structure(found.name).shapes for part in name.split(".")}
        assert not parts & {"module", "_orig_mod", "n_averaged", "_extra_state"}


def test_many_names_with_many_prefixes_are_compared_with_a_few_of_them() -> None:
    given: dict[str, tuple[int, ...]] = {f"a{index}.conv1.weight": (1,) for index in range(20_000)}
    with pytest.raises(NernError, match="does not fit"):
        match_names(given, RESNET)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (["module.a.w", "module.b.w"], ["a.w", "b.w"]),
        (["module.module.a"], ["a"]),
        (["n_averaged", "module.a"], ["n_averaged", "a"]),
        (["_orig_mod.a", "_orig_mod.b"], ["a", "b"]),
        (["a._orig_mod.w", "b.w"], ["a.w", "b.w"]),
        (["module._orig_mod.a"], ["a"]),
        (["module.a", "b"], ["module.a", "b"]),
        (["model.a"], ["model.a"]),
        (["a._orig_mod.w", "a.w"], ["a._orig_mod.w", "a.w"]),
        (["module."], ["module."]),
        ([], []),
    ],
)
def test_the_plain_names_of_an_unknown_network(given: list[str], plain: list[str]) -> None:
    assert list(plain_names(given).values()) == plain
