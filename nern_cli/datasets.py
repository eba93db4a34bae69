"""`nern datasets`: the data sets of a service."""

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
from nern_cli.terminal_text import print_line, print_row

if TYPE_CHECKING:
    from nern_client import Dataset

datasets = typer.Typer(help="Upload, list and delete the data sets of a service.", no_args_is_help=True)
Name = Annotated[
    str,
    typer.Argument(
        help="What jobs name it by: small letters, digits, dots, dashes, underscores.",
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
            help="A .safetensors file with both splits, or a folder with train.npz and test.npz.",
        ),
    ],
    url: Url = None,
    json: Json = False,
) -> None:
    """Send a data set once, for jobs to name. The same one again changes nothing."""
    with _one_file(source) as file, service(url) as client:
        dataset = client.datasets.upload(name, file)
    if json:
        print_json(dataset.model_dump(mode="json"))
    else:
        print_line(
            f"{name}: {_count(dataset.train.images)} images to train on, {_count(dataset.test.images)} to test on"
        )


@datasets.command("list")
def list_datasets(url: Url = None, json: Json = False) -> None:
    """Show what jobs may name; in a pipe as lines of name, source and numbers of images, separated by tabs."""
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
        print_line("There are no data sets; `nern datasets upload` sends one.")


@datasets.command()
def delete(name: Name, url: Url = None, json: Json = False) -> None:
    """Delete a data set that was uploaded. Jobs that use it keep it to their end."""
    with service(url) as client:
        client.datasets.delete(name)
    if json:
        print_json({"name": name, "deleted": True})
    else:
        print_line(f"{name} is deleted.")


@contextmanager
def _one_file(source: Path) -> Iterator[Path]:
    """The file to send: a folder is put into one, which is removed afterwards."""
    if source.is_file():
        yield source
        return
    from nern_core.datasets import write_dataset_file

    with TemporaryDirectory(prefix="nern-") as folder:
        packed = Path(folder) / "dataset.safetensors"
        write_dataset_file(source, packed)
        yield packed


def _row(dataset: "Dataset") -> dict[str, str]:
    return {
        "name": dataset.name,
        "source": dataset.source,
        "train": _count(dataset.train.images),
        "test": _count(dataset.test.images),
    }


def _count(images: int | None) -> str:
    return "?" if images is None else str(images)
