"""The commands of this machine, and the message and exit status of every error.

Commands that need torch or another extra import it when they run, so that `nern --help` answers at once and everywhere.
"""

import os
import sys
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from typer.core import TyperGroup

from nern_cli import FIRST_IMPORT
from nern_cli.arguments import (
    CheckpointKey,
    CheckpointPath,
    Json,
    refuse_checkpoint_name,
)
from nern_cli.compress_report import compress_report
from nern_cli.datasets import datasets
from nern_cli.display import ProgressDisplay, print_json, print_result, print_table
from nern_cli.download import download
from nern_cli.encode_options import takes_encode_options
from nern_cli.encode_snapshots import EncodeSnapshots
from nern_cli.evaluate import evaluate as measure_weights
from nern_cli.exit_codes import EXIT_CODES, ExitCode, exit_code_of
from nern_cli.extras import missing_extra, needs_extra
from nern_cli.huggingface import huggingface
from nern_cli.importance import importance
from nern_cli.jobs import jobs
from nern_cli.keys import keys
from nern_cli.mlflow import mlflow
from nern_cli.option_words import flag_of, with_flags
from nern_cli.output_files import output_file, results_beside
from nern_cli.process_start import started_at
from nern_cli.reconstruct import reconstruct
from nern_cli.report import report as write_report
from nern_cli.signals import Stopped, leave_signals_to_server, stopping_signals
from nern_cli.submit import submit
from nern_cli.terminal_text import print_error, print_line, print_note
from nern_core.contract.errors import NernError, sentence_case
from nern_core.contract.invalid_options import explain_invalid
from nern_core.contract.invalid_values import explain_value
from nern_core.contract.options import EncodeOptions
from nern_core.contract.system_errors import is_out_of_memory

# Loading Python and torch takes seconds, which count as part of the command's time.
_STARTED = started_at(FIRST_IMPORT)
_DEBUG = "NERN_DEBUG"
_LONGEST_SENTENCE = 500


class Commands(TyperGroup):
    """All commands. Errors of usage do not show the words of the library that found them."""

    def invoke(self, ctx: Any) -> object:  # noqa: ANN401 # typer has no public name for its base class of contexts
        """Run the command of the context. Raises `NernError` (`missing_extra`) if it needs an extra that is missing."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            extra = missing_extra(error)
            if extra is None:
                raise
            raise needs_extra(f"nern {ctx.invoked_subcommand}", extra) from error
        except typer.BadParameter as error:
            if isinstance(error.__cause__, ValidationError):
                error.message = sentence_case(explain_value(error.__cause__.errors()[0]))
            raise


app = typer.Typer(
    name="nern",
    cls=Commands,
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(requested: bool) -> None:
    if requested:
        print_line(f"nern {version('nern')}")
        raise typer.Exit


@app.callback()
def nern(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Compact representations of trained networks."""


Host = Annotated[str, typer.Option(help="Address to listen on. Addresses other than loopback need API keys.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")]


@app.command()
@takes_encode_options
def encode(
    checkpoint: CheckpointPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .nern file to write.")],
    options: EncodeOptions,
    teacher: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Checkpoint of a stronger network with the same classes, to distill from instead of the original.",
        ),
    ] = None,
    teacher_architecture: Annotated[str | None, typer.Option(help="Architecture of --teacher.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Also write report.json: all metrics, and the training curve for `nern report`.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume from the snapshots of an interrupted command.")
    ] = False,
    json: Json = False,
) -> None:
    """Encode CHECKPOINT (.safetensors, .pt, .pth, .th, .onnx, or a folder of the Hugging Face Hub) into a .nern file.

    Ctrl-C and SIGTERM leave snapshots beside the output; the same command with --resume resumes from them.
    """
    if (teacher is None) != (teacher_architecture is None):
        raise NernError("incomplete_teacher", "A stronger teacher needs both --teacher and --teacher-architecture.")
    from nern_core.encoder import encode as encode_file
    from nern_core.training.teacher import StrongerTeacher

    stronger = None
    if teacher is not None and teacher_architecture is not None:
        stronger = StrongerTeacher(checkpoint=teacher, architecture=teacher_architecture)
    inputs = [checkpoint, teacher, None if options.dataset is None else Path(options.dataset)]
    with (
        EncodeSnapshots(output) as kept,
        output_file(output, inputs=inputs) as encoding,
        nullcontext() if report is None else output_file(report, inputs=[*inputs, output]) as report_file,
        kept.during_training(checkpoint, options, teacher, resume=resume) as snapshots,
        ProgressDisplay() as display,
    ):
        refuse_checkpoint_name(output)
        result = encode_file(
            checkpoint,
            encoding,
            options,
            display.show,
            stronger_teacher=stronger,
            snapshots=snapshots,
            started=_STARTED,
        )
        if report_file is not None:
            report_file.write_text(result.report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    metrics = result.report.metrics.model_dump(mode="json")
    for note in result.report.metrics.notes:
        print_note(with_flags(note))
    with results_beside(output):
        if json:
            print_json(metrics)
        else:
            print_result(f"{checkpoint.name} → {output}", metrics, len(result.report.layers))
    if result.report.costs_too_much:
        print_note(
            f"The accuracy drop is {result.report.cost:.2f} points ({result.report.origin_of_cost}), more than "
            f"--max-drop {options.max_drop:g}. Train longer, or choose a larger file with --target-bytes."
        )
        raise typer.Exit(ExitCode.TARGET_MISSED)


app.command("evaluate")(measure_weights)


@app.command()
def inspect(file: CheckpointPath, key: CheckpointKey = None, json: Json = False) -> None:
    """Show the content of a .nern file or a checkpoint; without the extra `encode`, what its structure tells."""
    from nern_cli.inspection import inspect_file

    facts = inspect_file(file, key)
    if json:
        print_json(facts)
    else:
        print_table(str(file), facts)


@app.command()
def migrate() -> None:
    """Upgrade the database at NERN_DATABASE_URL to this version's schema."""
    from app.db.schema import database_errors_told
    from app.db.schema import migrate as migrate_database
    from app.settings import Settings

    with database_errors_told():
        migrate_database(Settings())
    print_line("The database is up to date.")


@app.command()
def serve(
    data_dir: Annotated[
        Path, typer.Option(envvar="NERN_DATA_DIR", help="Folder for the database, the queue and all files.")
    ] = Path("nern-data"),
    host: Host = "127.0.0.1",
    port: Port = 8000,
) -> None:
    """Run the API and one worker on this machine, with all data in one folder. Stop with Ctrl-C."""
    from nern_cli.serve import serve as run_both

    raise typer.Exit(run_both(data_dir, host, port))


@app.command()
def api(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Run the API alone, configured by environment variables; workers run elsewhere."""
    from app.http.server import serve as run_server

    leave_signals_to_server()
    run_server(host, port)


app.command("reconstruct")(reconstruct)
app.command("submit")(submit)
app.command("download")(download)
app.add_typer(jobs, name="jobs")
app.add_typer(datasets, name="datasets")
app.add_typer(keys, name="keys")
app.add_typer(mlflow, name="mlflow")
app.add_typer(huggingface, name="huggingface")
app.command("report")(write_report)
app.command("compress-report")(compress_report)
app.command("importance")(importance)


def run() -> None:
    """Run the command. Errors are one sentence on standard error, never a traceback."""
    try:
        with stopping_signals():
            app()
    except NernError as error:
        _fail(with_flags(error.message), exit_code_of(error))
    except ValidationError as error:
        _fail(" ".join(_sentence(detail, error.title) for detail in error.errors()), ExitCode.MISUSED)
    except Stopped as stopped:
        _fail(stopped.sentence, stopped.exit_code)
    except OSError as error:
        named = f"'{error.filename}': " if error.filename else ""
        _fail(f"{named}{error.strerror or error}.", ExitCode.FAILED)
    except Exception as error:
        if os.environ.get(_DEBUG):
            raise
        if is_out_of_memory(error):
            _fail("Out of memory; use a machine with more memory, or --device cpu.", ExitCode.FAILED)
        sentence = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_SENTENCE]
        _fail(f"Unexpected error, a bug in nern: {sentence} ({_DEBUG}=1 shows the traceback.)", ExitCode.FAILED)


def _sentence(detail: ErrorDetails, model: str) -> str:
    """Describe an invalid value; name an option by its flag and a setting by its environment variable."""
    name = str(detail["loc"][0]) if detail["loc"] else ""
    if not name:
        return with_flags(explain_invalid(detail))
    shown = f"NERN_{name.upper()}" if model == "Settings" else flag_of(name)
    return f"{shown}: {explain_invalid(detail)}"


def _fail(message: str, code: int) -> None:
    print_error(message)
    sys.exit(code)
