"""`nern download`: bring a result of a job here."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from nern_cli.arguments import Json, require_folder
from nern_cli.display import print_json
from nern_cli.exit_codes import ExitCode
from nern_cli.service import JobId, Url, service
from nern_core.errors import NernError


def download(
    job: JobId,
    artifact: Annotated[
        str, typer.Argument(help="weights.safetensors, weights.pt, encoding.nern, report.json, report.html, …")
    ] = "weights.safetensors",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File or folder to write. Default: ARTIFACT, here.")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Download ARTIFACT of a job, and check its SHA-256. A download that broke off goes on."""
    target = Path(artifact) if output is None else output / artifact if output.is_dir() else output
    require_folder(target)
    if target.is_dir():
        raise NernError("is_folder", f"'{target}' is a folder; name a file with -o.")
    with service(url) as client:
        try:
            client.jobs.download(job, artifact, target)
        except KeyboardInterrupt:
            print("nern: Interrupted; the same command goes on from here.", file=sys.stderr)
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        published = client.jobs.get(job).artifacts[artifact]
    if json:
        print_json({"artifact": artifact, "path": str(target), "bytes": published.bytes, "sha256": published.sha256})
    else:
        print(f"{target}: {published.bytes:,} bytes")
