"""`nern mlflow`: encode models of an MLflow server with a service."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from nern_cli.arguments import Json
from nern_cli.display import print_json, print_table
from nern_cli.encode_options import takes_job_options
from nern_cli.service import Timeout, Url, follow, service
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from nern_client import Job

mlflow = typer.Typer(help="Encode models of an MLflow server.", no_args_is_help=True)
_LONGEST_SENTENCE = 500


@mlflow.command()
@takes_job_options
def encode(
    source: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="models:/NAME/VERSION, models:/NAME/latest, models:/NAME@ALIAS, models:/m-ID or runs:/RUN/PATH; if "
            "there are several checkpoints, followed by the path of one.",
        ),
    ],
    register_as: Annotated[
        str | None, typer.Option(help="Registered model to add the result to, as a version. Default: NAME-nern.")
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_EXPERIMENT_NAME", help="Experiment of the run. Default: the experiment of the model."
        ),
    ] = None,
    *,
    options: EncodeOptions,
    again: Annotated[
        bool,
        typer.Option("--again", help="Encode again and add a version, even if the same request was encoded before."),
    ] = False,
    timeout: Timeout = None,
    tracking_uri: Annotated[
        str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="Address of the MLflow server.")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Encode MODEL with a service, record a run, and register the result as a version of a model.

    After an interruption, the same command resumes and repeats no finished work. Exit status: 3 job failed, 4 job
    canceled, 5 timed out, 6 service unreachable.
    """
    changed = options.model_dump(mode="json", exclude_defaults=True)
    with service(url, json=json) as client, _tracking(tracking_uri) as tracking:
        from nern_mlflow.encode import OnUpdate, Order
        from nern_mlflow.encode import encode as encode_model

        def wait(job_id: str, on_update: OnUpdate) -> "Job":
            return follow(client, job_id, timeout, on_update)

        order = Order(source=source, options=changed, register_as=register_as, experiment=experiment, again=again)
        result = encode_model(tracking, client, order, wait)
    # MLflow stores all numbers as floats.
    figures = {name: round(value) if name.endswith("bytes") else value for name, value in result.metrics.items()}
    links = {"run_id": result.run_id, "job_id": result.job_id}
    if json:
        version = {"model": result.model, "version": result.version, "source": result.source, "made": result.made}
        print_json(version | links | {"metrics": figures})
    else:
        before = "" if result.made else " (already existed)"
        print_table(f"{result.source} → models:/{result.model}/{result.version}{before}", links | figures)


@contextmanager
def _tracking(uri: str | None) -> Iterator["MlflowClient"]:
    """Open a client of MLflow. Raises `NernError` (`no_mlflow`, `mlflow_failed`), also for errors of MLflow."""
    _ask_this_machine_directly()
    # Keep standard output for results and standard error for messages to the user.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        from mlflow import MlflowClient, set_tracking_uri
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError as error:
        raise NernError(
            "no_mlflow", "The MLflow client is not installed; install it with: pip install 'nern[mlflow]'"
        ) from error
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    if uri is not None:
        set_tracking_uri(uri)
    try:
        yield MlflowClient()
    except MlflowException as error:
        sentence = " ".join(str(error).split())[:_LONGEST_SENTENCE]
        raise NernError("mlflow_failed", f"MLflow: {sentence}") from error


def _ask_this_machine_directly() -> None:
    """Exclude this machine from proxies, as `nern_client` does; MLflow's client only reads the variables."""
    name = "no_proxy" if os.environ.get("no_proxy") else "NO_PROXY"
    excluded = [os.environ.get(name, ""), "localhost", "127.0.0.1", "::1"]
    os.environ[name] = ",".join(filter(None, excluded))
