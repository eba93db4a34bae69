"""`nern huggingface`: export encodings for the Hugging Face Hub."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from nern_cli.arguments import Json
from nern_cli.display import print_json
from nern_cli.output_files import output_folder
from nern_cli.service import Url, service
from nern_cli.terminal_text import print_line
from nern_core.contract.errors import NernError

if TYPE_CHECKING:
    from nern_huggingface.card import About, Card

huggingface = typer.Typer(help="Prepare encodings for the Hugging Face Hub.", no_args_is_help=True)
_JOB_PREFIX = "job_"


@huggingface.command()
def export(
    encoding: Annotated[str, typer.Argument(metavar="JOB_OR_FILE", help="A job that succeeded, or a .nern file.")],
    folder: Annotated[Path, typer.Argument(file_okay=False, help="Folder to write; must be new or empty.")],
    name: Annotated[str | None, typer.Option(help="Title of the model card. Default: the name of the folder.")] = None,
    base_model: Annotated[
        str | None, typer.Option(metavar="USER/MODEL", help="Model on the hub that was encoded.")
    ] = None,
    license_: Annotated[
        str | None, typer.Option("--license", help="Licence id of the hub, such as mit. Default: none.")
    ] = None,
    repository: Annotated[
        str, typer.Option("--repo-id", metavar="USER/MODEL", help="Repository that the folder will be uploaded to.")
    ] = "USER/MODEL",
    report: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="report.json of the .nern file; adds accuracies to the card."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the exported files in a folder that is not empty.")
    ] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Write FOLDER in the hub's layout: model card, configuration, weights as safetensors, and the encoding.

    Nothing is uploaded; use `huggingface_hub.upload_folder` for that.
    """
    from nern_huggingface.card import About
    from nern_huggingface.export import ENCODING, FILES, refuse_used

    if not overwrite:
        refuse_used(folder)
    about = About(name=name or folder.resolve().name, base_model=base_model, license=license_, repository=repository)
    file = Path(encoding) if _is_file(encoding) else None
    # An exported encoding may be exported again in place, for example with another licence.
    again = file is not None and (folder / ENCODING).exists() and file.samefile(folder / ENCODING)
    with output_folder(folder, FILES, inputs=[None if again else file, report], parents=True) as staging:
        card = (
            _export_job(encoding, staging, about, report, url)
            if file is None
            else _export_file(file, staging, about, report)
        )
    if json:
        print_json(
            {
                "folder": str(folder),
                "encoding_bytes": card.encoding_bytes,
                "encoding_sha256": card.encoding_sha256,
                "weights_sha256": card.weights_sha256,
            }
        )
        return
    print_line(f"{folder}: model.safetensors, encoding.nern, config.json and README.md")
    if license_ is None:
        print_line("README.md names no licence yet: add that of the encoded network with --license.")


def _is_file(encoding: str) -> bool:
    """Return true for a file, false for a job id. Raises `NernError` (`no_such_file`) for anything else."""
    if Path(encoding).is_file():
        return True
    if not encoding.startswith(_JOB_PREFIX):
        raise NernError("no_such_file", f"There is no file '{encoding}', and it is not a job id.")
    return False


def _export_file(file: Path, folder: Path, about: "About", report: Path | None) -> "Card":
    from nern_huggingface.export import export as export_file

    return export_file(file, folder, about, report=report)


def _export_job(job: str, folder: Path, about: "About", report: Path | None, url: str | None) -> "Card":
    """Export the results of a job, with its own report."""
    if report is not None:
        raise typer.BadParameter("It cannot be combined with a job, which has its own report.", param_hint="'--report'")
    from nern_huggingface.export import export as export_file

    with ExitStack() as stack:
        results = Path(stack.enter_context(TemporaryDirectory(prefix="nern-")))
        client = stack.enter_context(service(url))
        for artifact in ("encoding.nern", "weights.safetensors", "report.json"):
            client.jobs.download(job, artifact, results / artifact)
        return export_file(
            results / "encoding.nern",
            folder,
            about,
            report=results / "report.json",
            weights=results / "weights.safetensors",
        )
