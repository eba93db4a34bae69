"""How important each kernel and filter is, as the encoding tells, beside magnitude and Fisher (paper, section 5.1)."""

from nern_core.importance.files import FILE_NAMES, write
from nern_core.importance.measure import Measured, measure
from nern_core.importance.model import Criterion, Granularity, Importance, PruningOrder, PruningPoint

__all__ = [
    "FILE_NAMES",
    "Criterion",
    "Granularity",
    "Importance",
    "Measured",
    "PruningOrder",
    "PruningPoint",
    "measure",
    "write",
]
