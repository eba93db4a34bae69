"""`nern importance`: rank kernels and filters by importance, and measure the cost of pruning the least important."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nern_cli.arguments import CheckpointPath, EncodingArchitecture, InputFile, Json, TestImages
from nern_cli.display import ProgressDisplay, print_json, print_points
from nern_cli.output_files import output_folder
from nern_cli.terminal_text import print_line

if TYPE_CHECKING:
    from nern_core.analysis.importance import Importance


def importance(
    checkpoint: CheckpointPath,
    encoding: InputFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", file_okay=False, help="Folder to write into; created if missing.")
    ],
    architecture: EncodingArchitecture = None,
    dataset: Annotated[
        Path | None,
        typer.Option(help="Folder or file of labelled images, for the Fisher information and the pruning curve."),
    ] = None,
    images: TestImages = None,
    json: Json = False,
) -> None:
    """Rank the kernels and filters of CHECKPOINT by reconstruction error in ENCODING (.nern), magnitude and Fisher.

    Writes importance.json, importance.safetensors and, with --dataset, pruning-curve.svg.
    """
    from nern_core.analysis.comparison import open_comparison
    from nern_core.analysis.importance import FILE_NAMES, measure, write

    with (
        output_folder(output, FILE_NAMES, inputs=[checkpoint, encoding, dataset]) as folder,
        ProgressDisplay() as display,
    ):
        measured = measure(
            open_comparison(checkpoint, encoding),
            architecture=architecture,
            dataset=dataset,
            images=images,
            on_progress=display.show,
        )
        files = write(measured, folder)
    found = measured.importance
    if json:
        print_json(found.model_dump(mode="json"))
        return
    for correlation in found.correlations:
        value = "none, one is constant" if correlation.spearman is None else f"{correlation.spearman:.3f}"
        print_line(
            f"rank correlation of {correlation.first} and {correlation.second}, {correlation.granularity}s: {value}"
        )
    if found.pruning:
        print_line(f"accuracy in percent on {found.images} images after setting a share of the weights to zero:")
        print_points(_curve(found))
    for line in [*found.remarks, *(f"written: {output / file.name}" for file in files)]:
        print_line(line)


def _curve(found: "Importance") -> list[dict[str, str | float]]:
    """Return one row for each granularity and share, with a column for each order."""
    rows: dict[tuple[str, float], dict[str, str | float]] = {}
    for point in found.pruning:
        row = rows.setdefault(
            (point.granularity, point.share), {"granularity": point.granularity.value, "share": point.share}
        )
        row[point.order.replace("-", " ")] = point.accuracy
    return list(rows.values())
