"""The inputs of detection networks: batches, or lists of images of any sizes, without their targets."""

from torch import Tensor

_AXES_OF_IMAGE = 3


def images_of(item: object) -> Tensor | list[Tensor] | None:
    """Return the images of a batch; None if there are none.

    A batch is a tensor (n, 3, h, w), a list of images (3, h, w), or one of both with the targets behind it, which are
    not used.
    """
    if isinstance(item, (tuple, list)) and item and not _are_images(item):
        item = item[0]
    if isinstance(item, Tensor) and item.ndim > _AXES_OF_IMAGE:
        return item
    if isinstance(item, (tuple, list)) and item and _are_images(item):
        return list(item)
    return None


def _are_images(items: tuple[object, ...] | list[object]) -> bool:
    return all(isinstance(item, Tensor) and item.ndim == _AXES_OF_IMAGE for item in items)
