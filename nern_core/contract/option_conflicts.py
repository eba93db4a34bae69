"""Options of an encoding that cannot be used together. Torch-free."""

from typing import TYPE_CHECKING

from nern_core.contract.catalogue import RecipeName
from nern_core.contract.representations import PREDICTOR, QUANTIZED

if TYPE_CHECKING:
    from nern_core.contract.options import EncodeOptions


class OptionConflict(ValueError):
    """An option that conflicts with the others."""

    def __init__(self, option: str, sentence: str) -> None:
        super().__init__(sentence)
        self.option = option


def refuse_conflicts(options: "EncodeOptions") -> None:
    """Raise `OptionConflict` if options ask for what other options exclude or do not give."""
    if options.seconds is not None and options.steps is not None:
        raise OptionConflict("steps", "give a budget in `seconds` or in `steps`, not both")
    _refuse_missing_data(options)
    _refuse_two_targets(options)
    _refuse_two_representations(options)
    _refuse_training_without_tier(options)
    if options.recipe is RecipeName.DATA_FREE and options.architecture is None:
        raise OptionConflict("recipe", "the recipe `data-free` needs `architecture`: it makes images from the network")


def _refuse_missing_data(options: "EncodeOptions") -> None:
    if options.fail_over is not None and options.dataset is None:
        raise OptionConflict("fail_over", "`fail_over` needs a `dataset`, to measure the accuracy")
    if options.direct_quantization and options.dataset is None:
        raise OptionConflict("direct_quantization", "`direct_quantization` needs a `dataset`, to distill on")


def _refuse_two_targets(options: "EncodeOptions") -> None:
    targets = [name for name in ("target_bytes", "target_ratio", "max_drop") if getattr(options, name) is not None]
    if len(targets) > 1:
        raise OptionConflict(targets[1], "use only one of `target_bytes`, `target_ratio` and `max_drop`")
    if options.max_drop is not None and (options.dataset is None or options.recipe is not RecipeName.FAST):
        raise OptionConflict("max_drop", "`max_drop` needs a `dataset` and the recipe `fast`, to train and to measure")


def _refuse_two_representations(options: "EncodeOptions") -> None:
    if options.has_target and not options.representation_entry.takes_target:
        alternative = "give `hidden_size`, or choose" if options.representation == PREDICTOR else "choose"
        raise OptionConflict(
            "representation", f"a `{options.representation}` has no target size; {alternative} `quantized`"
        )
    if options.has_target and options.recipe is RecipeName.PAPER:
        raise OptionConflict("recipe", "the recipe `paper` has no target size; choose `fast` or `data-free`")
    if options.representation == QUANTIZED and options.recipe is RecipeName.PAPER:
        raise OptionConflict("recipe", "the recipe `paper` trains a `predictor`; choose `fast` or `data-free`")
    quantized = options.has_target or options.representation == QUANTIZED
    if quantized and options.shapes_predictor:
        what = "a target size" if options.has_target else "`representation` `quantized`"
        shapes = {"hidden_size": options.hidden_size is not None, "rounds": options.rounds > 1}
        shape = next((name for name, given in shapes.items() if given), "kernels_per_coordinate")
        others = "`hidden_size`, `rounds` or `kernels_per_coordinate`"
        raise OptionConflict(shape, f"{what} cannot be used with {others}; omit one of them")


def _refuse_training_without_tier(options: "EncodeOptions") -> None:
    """Refuse a training budget for the tier that does not train, and training without anything to train on."""
    if options.tier is None:
        return
    if options.representation_kind != QUANTIZED:
        raise OptionConflict("tier", "`tier` is for quantized weights; a `predictor` is always trained")
    if options.tier == "trained":
        return
    for name in ("steps", "seconds"):
        if getattr(options, name) is not None:
            raise OptionConflict(name, f"the tier `instant` trains nothing; omit `{name}`, or choose `trained`")
