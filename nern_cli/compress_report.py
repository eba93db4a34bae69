"""`nern compress-report`: the cost of pruning and quantizing the predictor, compared with the original network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nern_cli.arguments import CheckpointPath, EncodingArchitecture, InputFile, Json, TestImages
from nern_cli.display import print_json, print_points
from nern_cli.output_files import output_file, results_beside
from nern_cli.terminal_text import print_line

if TYPE_CHECKING:
    from nern_core.analysis.meta_compression import MetaCompression


def compress_report(
    checkpoint: CheckpointPath,
    encoding: InputFile,
    dataset: Annotated[Path, typer.Option(help="Labelled images to measure accuracies on.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The chart to write, .svg.")],
    architecture: EncodingArchitecture = None,
    images: TestImages = None,
    json: Json = False,
) -> None:
    """Prune and quantize both the predictor in ENCODING (.nern) and CHECKPOINT; compare them at equal bytes."""
    with output_file(output, inputs=[checkpoint, encoding, dataset]) as file:
        result = _draw(checkpoint, encoding, architecture, dataset, images, file)
    with results_beside(output):
        if json:
            print_json(result.model_dump(mode="json"))
        else:
            print_points([point.model_dump(mode="json") for point in result.points])
            for verdict in result.verdicts:
                print_line(verdict)


def _draw(
    checkpoint: Path, encoding: Path, architecture: str | None, dataset: Path, images: int | None, chart: Path
) -> "MetaCompression":
    """Measure, draw the chart, and return the measurements."""
    from nern_core.analysis.comparison import evaluator_of, open_comparison
    from nern_core.analysis.meta_compression import sweep
    from nern_core.analysis.meta_compression.chart import draw_sweep

    comparison = open_comparison(checkpoint, encoding)
    result = sweep(comparison, evaluator_of(comparison.encoding, architecture, dataset, images=images))
    chart.write_text(draw_sweep(result), encoding="utf-8")
    return result
