"""Options, error messages and waiting for the commands that use a service."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nern_cli.arguments import refuse_empty
from nern_cli.display import ProgressDisplay, describe_progress, print_json, print_result
from nern_cli.exit_codes import ExitCode, exit_code_of_refusal
from nern_cli.signals import Stopped
from nern_cli.terminal_text import print_error

if TYPE_CHECKING:
    from nern_client import Client, Job, NernClientError

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="NERN_URL",
        help="Address of the service; the API key comes from NERN_API_KEY. Default: http://127.0.0.1:8000.",
        show_default=False,
    ),
]
JobId = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="Job id, as printed by `nern submit` and `nern jobs list`.",
        callback=refuse_empty("`nern jobs list` prints the ids"),
    ),
]
JobIds = Annotated[
    list[str],
    typer.Argument(
        metavar="JOB...",
        help="Job ids, as printed by `nern submit` and `nern jobs list`.",
        callback=lambda ids: [refuse_empty("`nern jobs list` prints the ids")(job_id) for job_id in ids],
    ),
]
Labels = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label of the job. May be repeated.")]
Timeout = Annotated[float | None, typer.Option(min=0, help="Maximum seconds to wait; the job continues afterwards.")]


def labels_of(given: list[str] | None) -> dict[str, str]:
    """Parse labels. Raises `BadParameter` for a label without `=`."""
    pairs = [label.partition("=") for label in given or []]
    if not all(separator for _, separator, _ in pairs):
        raise typer.BadParameter("A label is KEY=VALUE, such as team=vision.", param_hint="'--label'")
    return {key: value for key, _, value in pairs}


@contextmanager
def service(url: str | None, *, json: bool = False) -> Iterator["Client"]:
    """Open a client of the service. Errors become one sentence on standard error and an exit status.

    With `json`, a job that ended without results is also printed.
    """
    from nern_client import Client, NernClientError

    try:
        with Client(url) as client:
            yield client
    except NernClientError as error:
        job = getattr(error, "job", None)
        if json and job is not None:
            print_json(as_json(job))
        print_error(_sentence(error))
        raise typer.Exit(_exit_code(error)) from error
    except BrokenPipeError:
        # The reader of the output has closed the pipe.
        raise
    except OSError as error:
        named = f"'{error.filename}': " if error.filename else ""
        print_error(f"{named}{error.strerror or error}.")
        raise typer.Exit(ExitCode.FAILED) from error


def for_each(job_ids: Sequence[str], act: Callable[[str], None]) -> None:
    """Act on jobs one after another. An answer that refuses one is printed and does not hold up the others.

    Exits with the status of the first one that was refused.
    """
    from nern_client import ApiError

    refused: list[ApiError] = []
    for job_id in job_ids:
        try:
            act(job_id)
        except ApiError as error:
            which = f"{job_id}: " if len(job_ids) > 1 else ""
            print_error(f"{which}{_sentence(error)}")
            refused.append(error)
        sys.stdout.flush()
    if refused:
        raise typer.Exit(_exit_code(refused[0])) from refused[0]


def follow(client: "Client", job_id: str, timeout: float | None, on_update: Callable[["Job"], None]) -> "Job":
    """Wait for a job, with a progress bar on a terminal."""
    with ProgressDisplay(lines=False) as display:

        def show(job: "Job") -> None:
            details = job.message if job.progress is None else describe_progress(job.progress)
            display.update(job.phase or job.status, fraction_of(job), details)
            on_update(job)

        try:
            return client.jobs.wait(job_id, on_update=show, timeout=timeout)
        except Stopped as stopped:
            print_error(f"{stopped.sentence} The job continues: nern jobs watch {job_id}")
            raise typer.Exit(stopped.exit_code) from None


def fraction_of(job: "Job") -> float:
    """Return the completed fraction of a job, from 0 to 1."""
    if job.status == "succeeded":
        return 1.0
    return 0.0 if job.progress is None else job.progress.fraction


def as_json(job: "Job") -> dict[str, Any]:
    """Return a job as JSON, as the service describes it."""
    return job.model_dump(mode="json")


def print_metrics(title: str, job: "Job") -> None:
    """Print the metrics of a job for people."""
    print_result(title, job.metrics or {})


def _exit_code(error: "NernClientError") -> ExitCode:
    from nern_client import InvalidRequest, JobCanceled, JobFailed, ServerUnreachable, WaitTimeout

    codes = {
        JobFailed: ExitCode.JOB_FAILED,
        JobCanceled: ExitCode.JOB_CANCELED,
        WaitTimeout: ExitCode.TIMED_OUT,
        ServerUnreachable: ExitCode.UNREACHABLE,
    }
    if isinstance(error, InvalidRequest) and error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        return exit_code_of_refusal(error.type, {problem.field for problem in error.problem.errors})
    return codes.get(type(error), ExitCode.FAILED)


def _sentence(error: "NernClientError") -> str:
    """Describe the error and what to do on the command line."""
    from nern_client import ApiError, NotAuthorized, ServerUnreachable

    if isinstance(error, ServerUnreachable) and error.proxy is not None:
        return f"{error} Add the host to NO_PROXY to bypass the proxy."
    if isinstance(error, ServerUnreachable):
        return f"{error} Start a service with `nern serve`, or set another address with --url or NERN_URL."
    if isinstance(error, NotAuthorized) and error.type == "missing-key":
        return "This service needs an API key: set NERN_API_KEY. Its operator creates keys with `nern keys create`."
    if isinstance(error, NotAuthorized):
        return f"{error} The key is the one in NERN_API_KEY."
    if isinstance(error, ApiError) and error.status >= 500 and error.request_id:
        return f"{error} Give the operator this request id: {error.request_id}."
    return str(error)
