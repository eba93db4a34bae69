"""`nern submit`: encode a checkpoint with a service."""

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from nern_cli.arguments import CheckpointPath, Json
from nern_cli.display import print_json
from nern_cli.encode_options import takes_job_options
from nern_cli.hub_archive import sendable
from nern_cli.output_files import results_beside, resumable_output
from nern_cli.service import Labels, Timeout, Url, as_json, follow, labels_of, print_metrics, service
from nern_cli.terminal_text import print_line, print_note
from nern_core.contract.options import EncodeOptions

_ARTIFACTS = {
    ".safetensors": "weights.safetensors",
    ".pt": "weights.pt",
    ".onnx": "weights.onnx",
    ".nern": "encoding.nern",
    ".json": "report.json",
    ".html": "report.html",
}


@takes_job_options
def submit(
    checkpoint: CheckpointPath,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Wait, then download the weights (.safetensors, .pt, .onnx), the encoding (.nern) or the report "
            "(.json, .html).",
        ),
    ] = None,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job has ended.")] = False,
    timeout: Timeout = None,
    options: EncodeOptions,
    name: Annotated[str | None, typer.Option(help="Name of the job. Default: the name of the file.")] = None,
    label: Labels = None,
    webhook: Annotated[
        str | None, typer.Option(help="Address to notify when the job has ended (Standard Webhooks).")
    ] = None,
    deadline: Annotated[
        int | None,
        typer.Option(min=1, help="Seconds, including the wait in the queue, after which an unfinished job fails."),
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Your own key; submitting again with the same key creates no second job.")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Encode CHECKPOINT (.safetensors, .pt, .pth, .th, .onnx, or a folder of the Hugging Face Hub) with a service.

    Prints the job's id. Paths of data sets are paths on the service's machine. Exit status: 3 job failed, 4 job
    canceled, 5 timed out, 6 service unreachable.
    """
    artifact = None if output is None else _artifact_for(output)
    changed = options.model_dump(mode="json", exclude_defaults=True)
    with service(url, json=json) as client, _output(output, checkpoint) as file, sendable(checkpoint) as sent:
        job = client.jobs.create(
            sent,
            name=name or (None if sent == checkpoint else checkpoint.resolve().name),
            labels=labels_of(label),
            webhook=webhook,
            deadline_seconds=deadline,
            idempotency_key=idempotency_key,
            **cast("Any", changed),
        )
        if wait or artifact is not None:
            job = follow(client, job.id, timeout, on_update=lambda job: None)
        if file is not None and artifact is not None:
            client.jobs.download(job.id, artifact, file)
    with results_beside(output):
        if json:
            print_json(as_json(job))
        elif job.ended:
            print_metrics(f"{checkpoint.name} → {output or job.id}", job)
        else:
            print_line(job.id)
            if sys.stderr.isatty():
                print_note(f"Follow it with: nern jobs watch {job.id}")


def _output(path: Path | None, checkpoint: Path) -> AbstractContextManager[Path | None]:
    """Yield the file to download into, or None."""
    return nullcontext() if path is None else resumable_output(path, inputs=[checkpoint])


def _artifact_for(output: Path) -> str:
    """Return the name of the result for a file's suffix. Raises `BadParameter` for an unknown suffix."""
    if output.suffix not in _ARTIFACTS:
        raise typer.BadParameter(f"'{output}' must end in {', '.join(_ARTIFACTS)}.", param_hint="'--output' / '-o'")
    return _ARTIFACTS[output.suffix]
