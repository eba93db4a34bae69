"""Representations that an encoding can have, described for users and found by name. Torch-free.

Installed packages add their own with entry points of the group `nern.representations`, each a `RepresentationEntry`.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Final

from pydantic import BaseModel, ConfigDict

from nern_core.contract.progress import Phase

ENTRY_POINTS: Final = "nern.representations"
QUANTIZED: Final = "quantized"
PREDICTOR: Final = "predictor"


class RepresentationEntry(BaseModel):
    """A representation by name, with `implementation` as `module:attribute`; only its import may load torch.

    `default_kernels` is the default of the option `kernels`. `takes_target` is True if the option `target_bytes` and
    its like set the size. `always_trains` is True if there is something to train without images. `phases` are those of
    its encoding without images.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    implementation: str
    default_kernels: tuple[str, ...] = ("all",)
    takes_target: bool = False
    always_trains: bool = False
    phases: tuple[Phase, ...] = (Phase.QUANTIZATION,)


BUILT_IN: Final = (
    RepresentationEntry(
        name=QUANTIZED, implementation="nern_core.representations.quantized.representation:QUANTIZED", takes_target=True
    ),
    RepresentationEntry(
        name=PREDICTOR,
        implementation="nern_core.representations.predicted.representation:PREDICTED",
        default_kernels=("spatial",),
        always_trains=True,
        phases=(Phase.ORDERING, Phase.RECONSTRUCTION),
    ),
)


@cache
def representation_entries() -> Mapping[str, RepresentationEntry]:
    """Return the built-in representations and then the installed ones, by name; a built-in one is not replaced."""
    entries = {entry.name: entry for entry in BUILT_IN}
    for point in entry_points(group=ENTRY_POINTS):
        installed: RepresentationEntry = point.load()
        entries.setdefault(installed.name, installed)
    return entries
