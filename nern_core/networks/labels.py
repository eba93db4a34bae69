"""Labels that do not fit the classes of a network."""

from torch import Tensor

from nern_core.contract.errors import NernError


def refuse_labels(labels: Tensor, classes: int) -> None:
    """Raise `NernError` (`bad_data`) if a label, of integers of any shape, is not in the range of `classes` classes."""
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise NernError(
            "bad_data",
            f"The dataset has the label {int(wrong[0])}, but the network has {classes} classes, from 0 to "
            f"{classes - 1}.",
        )
