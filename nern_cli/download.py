"""`nern download`: download a result of a job."""

from pathlib import Path
from typing import Annotated

import typer

from nern_cli.arguments import Json
from nern_cli.display import print_json
from nern_cli.output_files import results_beside, resumable_output
from nern_cli.service import JobId, Url, service
from nern_cli.signals import Stopped
from nern_cli.terminal_text import print_line, print_note


def download(
    job: JobId,
    artifact: Annotated[
        str, typer.Argument(help="weights.safetensors, weights.pt, encoding.nern, report.json, report.html, …")
    ] = "weights.safetensors",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File or folder to write. Default: ARTIFACT in the current folder."),
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Download ARTIFACT of a job and check its SHA-256. An interrupted download is resumed."""
    target = Path(artifact) if output is None else output / artifact if output.is_dir() else output
    with service(url) as client, resumable_output(target) as file:
        try:
            client.jobs.download(job, artifact, file)
        except Stopped as stopped:
            print_note(f"nern: {stopped.sentence} The same command resumes the download.")
            raise typer.Exit(stopped.exit_code) from None
        published = client.jobs.get(job).artifacts[artifact]
    facts = {"artifact": artifact, "path": str(target), "bytes": published.bytes, "sha256": published.sha256}
    with results_beside(target):
        if json:
            print_json(facts)
        else:
            print_line(f"{target}: {published.bytes:,} bytes")
