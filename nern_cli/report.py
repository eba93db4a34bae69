"""`nern report`: compare a checkpoint with its encoding, as an HTML page and as metrics."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nern_cli.arguments import CheckpointPath, EncodingArchitecture, InputFile, Json
from nern_cli.display import print_json, print_result
from nern_cli.output_files import output_file, results_beside
from nern_cli.terminal_text import print_line

if TYPE_CHECKING:
    from nern_core.analysis.baselines import Alternative
    from nern_core.analysis.comparison import Comparison


def report(
    checkpoint: CheckpointPath,
    encoding: InputFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")],
    trained: Annotated[
        Path | None,
        typer.Option(
            "--report",
            exists=True,
            dir_okay=False,
            help="File that `nern encode --report` wrote; adds the training curve.",
        ),
    ] = None,
    architecture: EncodingArchitecture = None,
    dataset: Annotated[
        Path | None,
        typer.Option(help="Labelled images: measures accuracies, also of int8 and other alternatives."),
    ] = None,
    nncodec: Annotated[
        Path | None,
        typer.Option(
            envvar="NERN_NNCODEC_PYTHON",
            dir_okay=False,
            help="Python of an environment with nncodec 2.1.3 and safetensors: also measures NNCodec at this size.",
        ),
    ] = None,
    direct_seconds: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            help="Also quantize the network directly to this size, with distillation for this many seconds. Needs "
            "--dataset with training images.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write an HTML report that compares ENCODING (.nern) with its CHECKPOINT. The page works offline."""
    if direct_seconds is not None and dataset is None:
        raise typer.BadParameter("It needs --dataset for the distillation.", param_hint="'--direct-seconds'")
    from nern_core.analysis.comparison import open_comparison
    from nern_core.analysis.report.files import measure_comparison, read_report
    from nern_core.analysis.report.page import render_page

    with output_file(output, inputs=[checkpoint, encoding, trained, dataset]) as page:
        comparison = open_comparison(checkpoint, encoding)
        measured = measure_comparison(
            comparison,
            trained=None if trained is None else read_report(trained),
            architecture=architecture,
            dataset=dataset,
            others=_others(comparison, architecture, dataset, nncodec, direct_seconds),
        )
        page.write_text(render_page(measured), encoding="utf-8")
    with results_beside(output):
        report = measured.report
        if json:
            print_json(report.model_dump(mode="json"))
        else:
            print_result(f"{encoding.name} → {output}", report.metrics.model_dump(), len(report.layers))
            if trained is None and report.options.may_train:
                print_line(
                    "Without --report there are no training curves: `nern encode --report` writes the file for them."
                )


def _others(
    comparison: "Comparison",
    architecture: str | None,
    dataset: Path | None,
    nncodec: Path | None,
    direct_seconds: float | None,
) -> Iterator["Alternative"]:
    """Yield the alternatives that are measured only on request."""
    if nncodec is not None:
        from nern_core.analysis.baselines import code_as_small

        yield code_as_small(comparison.original.tensors, nncodec, comparison.path.stat().st_size)
    if direct_seconds is not None and dataset is not None:
        from nern_core.analysis.direct_quantization import quantize_as_small

        yield quantize_as_small(comparison, dataset=dataset, architecture=architecture, seconds=direct_seconds)
