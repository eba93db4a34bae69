"""`nern datasets`: data sets of a service."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from nern_cli.arguments import Json, refuse_empty
from nern_cli.display import print_json, print_points
from nern_cli.service import Url, service
from nern_cli.terminal_text import print_line, print_note, print_row

if TYPE_CHECKING:
    from nern_client import Dataset

datasets = typer.Typer(help="Upload, list and delete the data sets of a service.", no_args_is_help=True)
# Zip archives, such as `.npz` files, and Parquet.
_CONVERTED_HEADS = {b"PK\x03\x04", b"PAR1"}
_CONVERTED_SUFFIXES = {".npz", ".tar", ".txt"}
Name = Annotated[
    str,
    typer.Argument(
        help="Name of the data set: lower-case letters, digits, dots, dashes, underscores.",
        callback=refuse_empty("`nern datasets list` prints the names"),
    ),
]


@datasets.command()
def upload(
    name: Name,
    source: Annotated[
        Path,
        typer.Argument(
            exists=True,
            readable=True,
            metavar="FILE|FOLDER",
            help="Images in folders by class, Parquet, a folder of `datasets`, WebDataset or .npz; arrays; or text.",
        ),
    ],
    input_size: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=1024,
            show_default="that of the images, or 224",
            help="Pixels on each side of the images that are sent.",
        ),
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Upload a data set for jobs to use. Images are decoded here. Uploading the same one again is a no-op.

    Each line of a .txt file is an example for networks of transformers.
    """
    with _one_file(source, input_size or 0) as file, service(url) as client:
        dataset = client.datasets.upload(name, file)
    if json:
        print_json(dataset.model_dump(mode="json"))
    elif dataset.arrays:
        print_line(f"{name}: {_examples(dataset)} examples of {_names(dataset)}")
    elif dataset.text_bytes is not None:
        print_line(f"{name}: {dataset.text_bytes} bytes of text lines")
    else:
        print_line(
            f"{name}: {_count(dataset.train.images)} images to train on, {_count(dataset.test.images)} to test on"
        )


@datasets.command("list")
def list_datasets(url: Url = None, json: Json = False) -> None:
    """Show the data sets that jobs can use; in a pipe, as lines of name, source and counts, separated by tabs."""
    with service(url) as client:
        found = client.datasets.list()
    rows = [_row(dataset) for dataset in found]
    if json:
        print_json({"datasets": [dataset.model_dump(mode="json") for dataset in found]})
    elif not sys.stdout.isatty():
        for row in rows:
            print_row(row.values())
    elif rows:
        print_points(rows)
    else:
        print_line("There are no data sets; upload one with `nern datasets upload`.")


@datasets.command()
def delete(name: Name, url: Url = None, json: Json = False) -> None:
    """Delete an uploaded data set. Jobs that use it keep it until they end."""
    with service(url) as client:
        client.datasets.delete(name)
    if json:
        print_json({"name": name, "deleted": True})
    else:
        print_line(f"{name} is deleted.")


@contextmanager
def _one_file(source: Path, input_size: int) -> Iterator[Path]:
    """Yield the file to send; every data set but a .safetensors file is converted into a temporary one."""
    if source.is_file() and not _is_converted(source):
        yield source
        return
    from nern_core.networks.dataset_files import write_dataset_file

    with TemporaryDirectory(prefix="nern-") as folder:
        packed = Path(folder) / "dataset.safetensors"
        for note in write_dataset_file(source, packed, input_size):
            print_note(note)
        yield packed


def _is_converted(file: Path) -> bool:
    """Return True for files that are not sent as they are: archives and tables."""
    with file.open("rb") as opened:
        head = opened.read(4)
    return head in _CONVERTED_HEADS or file.suffix in _CONVERTED_SUFFIXES


def _row(dataset: "Dataset") -> dict[str, str]:
    return {
        "name": dataset.name,
        "source": dataset.source,
        "train": _content(dataset),
        "test": "" if _has_no_images(dataset) else _count(dataset.test.images),
    }


def _has_no_images(dataset: "Dataset") -> bool:
    return bool(dataset.arrays) or dataset.text_bytes is not None


def _content(dataset: "Dataset") -> str:
    if dataset.text_bytes is not None:
        return f"{dataset.text_bytes} bytes of text"
    return _examples(dataset) if dataset.arrays else _count(dataset.train.images)


def _examples(dataset: "Dataset") -> str:
    return str(dataset.arrays[0].shape[0]) if dataset.arrays else "?"


def _names(dataset: "Dataset") -> str:
    return ", ".join(array.name for array in dataset.arrays or ())


def _count(images: int | None) -> str:
    return "?" if images is None else str(images)
