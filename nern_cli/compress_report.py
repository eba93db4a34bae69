"""`nern compress-report`: what pruning and quantizing the predictor costs, and what the same costs the original."""

from pathlib import Path
from typing import Annotated

import typer

from nern_cli.arguments import EncodingArchitecture, InputFile, Json, TestImages, require_folder
from nern_cli.display import print_json, print_points


def compress_report(
    checkpoint: InputFile,
    encoding: InputFile,
    dataset: Annotated[Path, typer.Option(help="Folder with test.npz: the images that accuracies are measured on.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The chart to write, .svg.")],
    architecture: EncodingArchitecture = None,
    images: TestImages = None,
    json: Json = False,
) -> None:
    """Prune and quantize the predictor in ENCODING (.nern), and CHECKPOINT alike, and compare them at equal bytes."""
    require_folder(output)
    from nern_core.meta_compression import sweep
    from nern_core.meta_compression.chart import draw_sweep
    from nern_core.pair import evaluator_of, open_pair

    pair = open_pair(checkpoint, encoding)
    result = sweep(pair, evaluator_of(pair.encoding, architecture, dataset, images=images))
    output.write_text(draw_sweep(result), encoding="utf-8")
    if json:
        print_json(result.model_dump(mode="json"))
    else:
        print_points([point.model_dump(mode="json") for point in result.points])
        print("\n".join(result.verdicts))
