"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from nern_core.errors import NernError

InputFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, last.")]


def require_folder(output: Path) -> None:
    """Refuse a file that cannot be written, before any work is done. Raises `NernError` (`no_folder`)."""
    if not output.parent.is_dir():
        raise NernError("no_folder", f"There is no folder '{output.parent}' to write '{output.name}' into.")
