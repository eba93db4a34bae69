import pytest

from nern_core.contract.catalogue.networks import closest_architecture, unknown_architecture


@pytest.mark.parametrize(
    ("name", "closest"),
    [
        ("resnet18", "torchvision:resnet18"),
        ("ResNet18", "torchvision:resnet18"),
        ("resnet20", "cifar-resnet20"),
        ("digits_cnn", "digits-cnn"),
        ("torchvision:resnet1", "torchvision:resnet18"),
        ("transformer-xl", None),
        ("resnet18" * 1000, None),
    ],
)
def test_an_unknown_name_has_the_known_one_that_it_resembles(name: str, closest: str | None) -> None:
    assert closest_architecture(name) == closest


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("torchvision:resnet1", "torchvision has no network 'resnet1'; did you mean torchvision:resnet18?"),
        ("./two.py", "'./two.py' is a file; add the name of a class or function in it: ./two.py:NAME."),
        ("resnet18", "There is no architecture 'resnet18'; did you mean torchvision:resnet18?"),
        ("torchvision:x", "torchvision has no network 'x'; names are for example resnet18 or mobilenet_v3_small."),
    ],
)
def test_an_unknown_architecture_is_answered_with_the_closest_name_or_examples(name: str, sentence: str) -> None:
    assert unknown_architecture(name).message == sentence


def test_a_name_of_a_library_resembles_only_names_of_this_library() -> None:
    assert closest_architecture("timm:resnet1") is None
    assert closest_architecture("timm:resnet1", ["timm:resnet10t", "timm:vit"]) == "timm:resnet10t"
    assert closest_architecture("torchvison:resnet18") == "torchvision:resnet18"
