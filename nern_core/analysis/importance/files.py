"""Write the measured importance: the document, the scores and the pruning curve."""

from pathlib import Path
from typing import Final

from torch import Tensor

from nern_core.analysis.charts import Panel, Series, line_panels
from nern_core.analysis.importance.measure import Measured
from nern_core.analysis.importance.model import Granularity, Importance
from nern_core.analysis.importance.scores import Scores
from nern_core.tensors.safetensors_files import write_safetensors

JSON_NAME: Final = "importance.json"
SCORES_NAME: Final = "importance.safetensors"
CURVE_NAME: Final = "pruning-curve.svg"
FILE_NAMES: Final = (JSON_NAME, SCORES_NAME, CURVE_NAME)


def write(measured: Measured, folder: Path) -> list[Path]:
    """Write the document, the scores and, if there are points, the pruning curve; return the files.

    Each tensor of scores is named `kernel.magnitude.<layer>` and so on; the metadata entry `nern` is JSON with the
    SHA-256 of the checkpoint and of the encoding.
    """
    importance = measured.importance
    document, scores, curve = folder / JSON_NAME, folder / SCORES_NAME, folder / CURVE_NAME
    document.write_text(importance.model_dump_json(indent=2) + "\n", encoding="utf-8")
    # One entry, because several entries would be written in random order.
    metadata = importance.model_dump_json(include={"nern_version", "source_sha256", "encoding_sha256"})
    write_safetensors(_named(measured.scores), scores, {"nern": metadata})
    if not importance.pruning:
        return [document, scores]
    curve.write_text(draw_pruning(importance), encoding="utf-8")
    return [document, scores, curve]


def draw_pruning(importance: Importance) -> str:
    """Draw accuracy against the share of weights pruned, one line per order; return an SVG document."""
    lines: dict[Granularity, dict[str, list[tuple[float, float]]]] = {granularity: {} for granularity in Granularity}
    for point in importance.pruning:
        line = lines[point.granularity].setdefault(point.order.replace("-", " "), [])
        line.append((100 * point.share, point.accuracy))
    panels = [
        Panel(f"{importance.architecture}, {granularity}s", tuple(Series(n, tuple(p)) for n, p in of_one.items()))
        for granularity, of_one in lines.items()
    ]
    return line_panels(panels, x_label="weights set to zero, percent", y_label="accuracy in percent")


def _named(scores: Scores) -> dict[str, Tensor]:
    return {
        f"{granularity}.{criterion}.{layer}": values.contiguous()
        for (granularity, criterion), by_layer in scores.by_layer.items()
        for layer, values in by_layer.items()
    }
