"""Export a `.nern` file as a folder for the Hugging Face Hub."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from nern_core.analysis.report.files import read_report
from nern_core.contract.errors import NernError
from nern_core.decoder import decode_encoding
from nern_core.formats.encoding_structure import read_format_version
from nern_core.representations.files import read_encoding
from nern_core.tensors.checkpoint import write_checkpoint
from nern_core.tensors.digest import file_sha256
from nern_huggingface.card import About, Card, render_config, render_readme

WEIGHTS, ENCODING, CONFIG, README = "model.safetensors", "encoding.nern", "config.json", "README.md"
FILES = (WEIGHTS, ENCODING, CONFIG, README)


def export(
    encoding: Path,
    folder: Path,
    about: About,
    *,
    report: Path | None = None,
    weights: Path | None = None,
    overwrite: bool = False,
) -> Card:
    """Write all files or none, and return the facts on the card.

    `weights` is a file with the decoded weights, if there is one already; otherwise the encoding is decoded. Raises
    `NernError` (`folder_not_empty` unless `overwrite`, `another_encoding` for a report of another file).
    """
    if not overwrite:
        refuse_used(folder)
    contents, figures = read_encoding(encoding), None if report is None else read_report(report)
    sha256 = file_sha256(encoding)
    if figures is not None and figures.encoding_sha256 != sha256:
        raise NernError(
            "another_encoding",
            f"The report does not belong to '{encoding.name}': use the one written when that file was encoded.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    # On the same disk, so that files appear complete.
    with TemporaryDirectory(prefix=".nern-", dir=folder.parent) as name:
        new = Path(name)
        shutil.copyfile(encoding, new / ENCODING)
        if weights is None:
            write_checkpoint(decode_encoding(contents), new / WEIGHTS)
        else:
            shutil.copyfile(weights, new / WEIGHTS)
        card = Card.of(
            contents.document,
            figures,
            encoding_bytes=encoding.stat().st_size,
            encoding_sha256=sha256,
            weights_sha256=file_sha256(new / WEIGHTS),
            format_version=read_format_version(encoding),
        )
        (new / CONFIG).write_text(render_config(card), encoding="utf-8")
        (new / README).write_text(render_readme(card, about), encoding="utf-8")
        for file in FILES:
            (new / file).replace(folder / file)
    return card


def refuse_used(folder: Path) -> None:
    """Raise `NernError` (`folder_not_empty`) for a folder that is not empty."""
    if folder.exists() and any(folder.iterdir()):
        raise NernError("folder_not_empty", f"'{folder}' is not empty; use --overwrite to replace the exported files.")
