"""`nern report`: a checkpoint and its encoding as one HTML page, and in figures."""

from pathlib import Path
from typing import Annotated

import typer

from nern_cli.arguments import EncodingArchitecture, InputFile, Json, require_folder
from nern_cli.display import print_json, print_table


def report(
    checkpoint: InputFile,
    encoding: InputFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")],
    trained: Annotated[
        Path | None,
        typer.Option(
            "--report", exists=True, dir_okay=False, help="What `nern encode --report` wrote: the training curve."
        ),
    ] = None,
    architecture: EncodingArchitecture = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Folder with test.npz: measures accuracies, of int8 and the like too.")
    ] = None,
    json: Json = False,
) -> None:
    """Draw a report of ENCODING (.nern), made from CHECKPOINT, as an HTML page that needs no network."""
    require_folder(output)
    from nern_core.pair import open_pair
    from nern_core.report.files import compare, read_report
    from nern_core.report.page import render_page

    comparison = compare(
        open_pair(checkpoint, encoding),
        trained=None if trained is None else read_report(trained),
        architecture=architecture,
        dataset=dataset,
    )
    output.write_text(render_page(comparison), encoding="utf-8")
    if json:
        print_json(comparison.report.model_dump(mode="json"))
    else:
        print_table(f"{encoding.name} → {output}", comparison.report.metrics.model_dump())
        if not comparison.report.curve:
            print("Without --report there are no training curves: `nern encode --report` writes what they need.")
