"""Entry of the `nern` command.

torch is imported by the commands that compute, when they run: `nern --help` answers at once.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from nern_cli.arguments import InputFile, Json, require_folder
from nern_cli.compress_report import compress_report
from nern_cli.display import ProgressDisplay, print_json, print_table
from nern_cli.importance import importance
from nern_cli.keys import keys
from nern_cli.report import report as write_report
from nern_core.errors import NernError
from nern_core.options import ARCHITECTURE_NAMES, Device, EncodeOptions, Permutation, RecipeName, explain_invalid

app = typer.Typer(
    name="nern",
    help="Compact neural representations of trained networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_FAILED = 1
_MISUSED = 2
_INTERRUPTED = 130

Architecture = Annotated[
    str | None,
    typer.Option(help=f"{ARCHITECTURE_NAMES}."),
]
Dataset = Annotated[str | None, typer.Option(help="Folder with train.npz and test.npz. Needs --architecture.")]
Host = Annotated[str, typer.Option(help="Address to listen on; others than loopback need API keys.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")]


@app.command()
def encode(
    checkpoint: InputFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .nern file to write.")],
    architecture: Architecture = None,
    dataset: Dataset = None,
    recipe: Annotated[RecipeName, typer.Option(help="Named training settings.")] = RecipeName.FAST,
    kernels: Annotated[
        list[str] | None,
        typer.Option(
            help="What is represented: spatial (the default), all (the default with a target), or patterns of tensor "
            "names, with a leading ! to exclude. May be repeated."
        ),
    ] = None,
    target_bytes: Annotated[
        int | None, typer.Option(help="Size of the file to aim for: weights are quantized for it.")
    ] = None,
    target_ratio: Annotated[
        float | None, typer.Option(help="The same as a ratio, bytes of the checkpoint over bytes of the file.")
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(help="The smallest file that costs no more than so many points of accuracy."),
    ] = None,
    hidden_size: Annotated[int | None, typer.Option(help="Width of the predictor.")] = None,
    permutation: Annotated[Permutation, typer.Option(help="Order of the kernels.")] = Permutation.CROSS_FILTER,
    seconds: Annotated[float | None, typer.Option(help="Training budget in seconds.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training budget in steps.")] = None,
    rounds: Annotated[int, typer.Option(help="Rounds of reconstruction, each fitted to the one before.")] = 1,
    teacher: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Checkpoint of a stronger network of the same classes, to be imitated instead of the original.",
        ),
    ] = None,
    teacher_architecture: Annotated[str | None, typer.Option(help="The network that --teacher belongs to.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Also write report.json: all figures, and the training curve for `nern report`.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    device: Annotated[Device, typer.Option(help="Where to run.")] = Device.CPU,
    json: Json = False,
) -> None:
    """Encode CHECKPOINT (.safetensors, .pt, .pth, .th) into a .nern file."""
    options = EncodeOptions(
        architecture=architecture,
        dataset=dataset,
        recipe=recipe,
        kernels=tuple(kernels) if kernels else None,
        target_bytes=target_bytes,
        target_ratio=target_ratio,
        max_drop=max_drop,
        hidden_size=hidden_size,
        permutation=permutation,
        seconds=seconds,
        steps=steps,
        rounds=rounds,
        seed=seed,
        device=device,
    )
    if (teacher is None) != (teacher_architecture is None):
        raise NernError("incomplete_teacher", "A stronger teacher needs both --teacher and --teacher-architecture.")
    for file in (output, report):
        if file is not None:
            require_folder(file)
    from nern_core.encode import encode as encode_file
    from nern_core.training.teacher import StrongerTeacher

    stronger = None
    if teacher is not None and teacher_architecture is not None:
        stronger = StrongerTeacher(checkpoint=teacher, architecture=teacher_architecture)
    with ProgressDisplay() as display:
        result = encode_file(checkpoint, output, options, display.show, stronger_teacher=stronger)
    if report is not None:
        report.write_text(result.report.model_dump_json(indent=2) + "\n")
    metrics = result.report.metrics.model_dump()
    if json:
        print_json(metrics)
    else:
        print_table(f"{checkpoint.name} → {output}", metrics)


@app.command()
def reconstruct(
    encoding: InputFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="weights.safetensors or weights.pt.")],
) -> None:
    """Decode a .nern file into the weights that it represents."""
    from nern_core.checkpoint import write_checkpoint
    from nern_core.decode import decode

    decoded = decode(encoding)
    write_checkpoint(decoded, output)
    print(f"{len(decoded.tensors)} tensors written to {output}")


@app.command()
def evaluate(
    weights: InputFile,
    architecture: Annotated[str, typer.Option(help="The network that the weights belong to.")],
    dataset: Annotated[Path, typer.Option(help="Folder with test.npz.")],
    json: Json = False,
) -> None:
    """Measure the accuracy of WEIGHTS (a checkpoint or a .nern file) on the test split."""
    from nern_core.checkpoint import read_checkpoint
    from nern_core.decode import decode
    from nern_core.evaluate import evaluate_checkpoint

    checkpoint = decode(weights) if weights.suffix == ".nern" else read_checkpoint(weights)
    accuracy = evaluate_checkpoint(checkpoint, architecture, dataset)
    if json:
        print_json({"accuracy": accuracy})
    else:
        print(f"{accuracy:.2f} % on the test split of {dataset}")


@app.command()
def inspect(file: InputFile, json: Json = False) -> None:
    """Say what a .nern file or a checkpoint holds."""
    from nern_cli.inspection import inspect_file

    facts = inspect_file(file)
    if json:
        print_json(facts)
    else:
        print_table(str(file), facts)


@app.command()
def migrate() -> None:
    """Bring the database that NERN_DATABASE_URL names up to this version's schema."""
    from app.database import migrate as migrate_database
    from app.settings import Settings

    migrate_database(Settings())
    print("The database is up to date.")


@app.command()
def serve(
    data_dir: Annotated[Path, typer.Option(help="Folder for the database, the queue and all files.")] = Path(
        "nern-data"
    ),
    host: Host = "127.0.0.1",
    port: Port = 8000,
) -> None:
    """Serve the API and one worker on this machine, everything under one data folder; stop with Ctrl-C."""
    from nern_cli.serve import serve as run

    raise typer.Exit(run(data_dir, host, port))


@app.command()
def api(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Serve the API alone, as the environment sets it up; workers run elsewhere."""
    from app.server import serve as run

    run(host, port)


app.add_typer(keys, name="keys")
app.command("report")(write_report)
app.command("compress-report")(compress_report)
app.command("importance")(importance)


def main() -> None:
    """Run the command; errors are one sentence on standard error, never a traceback."""
    try:
        app()
    except NernError as error:
        _fail(error.message, _FAILED)
    except ValidationError as error:
        _fail(" ".join(_sentence(detail) for detail in error.errors()), _MISUSED)
    except KeyboardInterrupt:
        _fail("Interrupted; nothing was written.", _INTERRUPTED)


def _sentence(detail: ErrorDetails) -> str:
    """Options are known by their dashes here."""
    location = detail["loc"]
    option = f"--{str(location[0]).replace('_', '-')}: " if location else ""
    return option + explain_invalid(detail)


def _fail(message: str, code: int) -> None:
    print(f"nern: {message}", file=sys.stderr)
    sys.exit(code)
