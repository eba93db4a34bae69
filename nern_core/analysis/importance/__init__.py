"""Importance of each kernel and filter, measured by the encoding, magnitude and Fisher (paper, section 5.1)."""

from nern_core.analysis.importance.files import FILE_NAMES, write
from nern_core.analysis.importance.measure import Measured, measure
from nern_core.analysis.importance.model import Criterion, Granularity, Importance, PruningOrder, PruningPoint

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
