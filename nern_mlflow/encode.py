"""Encode a model of MLflow with a service, and register the result as a version of a model."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from nern_client import Client, Job
from nern_core.contract.errors import NernError
from nern_core.tensors.digest import file_sha256
from nern_mlflow.recording import Recording, recorded_figures, verdict_tags
from nern_mlflow.sources import Source, find_source
from nern_mlflow.tags import ENCODING_SHA256, JOB_ID, KEY, SOURCE, SOURCE_SHA256, WEIGHTS_SHA256
from nern_mlflow.versions import find_version, register_version

OnUpdate: TypeAlias = Callable[[Job], None]
# Waits for a job by its id and returns it once it has succeeded.
Wait: TypeAlias = Callable[[str, OnUpdate], Job]
# Omitted: the same weights as in safetensors, which MLflow's users can load without torch.
_LEFT_OUT = frozenset({"weights.pt"})
_DEFAULT_EXPERIMENT = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A request: a model of MLflow by its name, the options of the encoding, and the target of the result.

    A request with the same checkpoint, options and model returns the earlier result, unless `again` is set.
    """

    source: str
    options: Mapping[str, Any]
    register_as: str | None = None
    experiment: str | None = None
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The version with the encoding, its origin, and its metrics. `made` is false if it existed before."""

    model: str
    version: str
    source: str
    run_id: str
    job_id: str
    made: bool
    metrics: Mapping[str, float]


def encode(tracking: MlflowClient, service: Client, order: Order, wait: Wait) -> Result:
    """Encode, or return the earlier result. After an interruption, the next call resumes.

    Raises `NernError`, `NernClientError` and `MlflowException`.
    """
    source = find_source(tracking, order.source)
    model = order.register_as or _default_model(source)
    with TemporaryDirectory(prefix="nern-") as name:
        folder = Path(name)
        checkpoint = source.download(folder)
        sha256 = file_sha256(checkpoint)
        key = _key(sha256, order.options, model)
        if not order.again and (version := find_version(tracking, model, key)):
            return _found(tracking, version)
        tags = {KEY: key, SOURCE: str(source.origin), SOURCE_SHA256: sha256}
        experiment = _experiment(tracking, order, source)
        recording = None if order.again else Recording.unfinished(tracking, experiment, key)
        recording = recording or Recording.begin(tracking, experiment, f"{model} of {source.origin}", tags)
        with recording.of_job():
            job = _run_job(service, checkpoint, order, recording, wait)
            figures = recording.add_results(job, _download(service, job, folder / "results"))
            version = register_version(
                tracking,
                model,
                uri=recording.results_uri,
                run_id=recording.run_id,
                tags=tags | _tags_of(job),
                description=_description(job, source),
            )
    return Result(
        model=model,
        version=str(version.version),
        source=str(source.origin),
        run_id=recording.run_id,
        job_id=job.id,
        made=True,
        metrics=figures,
    )


def _run_job(service: Client, checkpoint: Path, order: Order, recording: Recording, wait: Wait) -> Job:
    """Submit the job, or find the submitted one, and record it until it ends."""
    job_id = recording.job_id
    if job_id is None:
        job = service.jobs.create(
            checkpoint,
            labels={"mlflow.run": recording.run_id},
            idempotency_key=f"mlflow-{recording.run_id}",
            **order.options,
        )
        recording.begin_job(job)
        job_id = job.id

    def follow(job: Job) -> None:
        recording.follow(service.jobs.events(job.id, after=recording.last_event))

    return wait(job_id, follow)


def _download(service: Client, job: Job, folder: Path) -> Path:
    folder.mkdir()
    for name in sorted(job.artifacts.keys() - _LEFT_OUT):
        service.jobs.download(job.id, name, folder / name)
    return folder


def _default_model(source: Source) -> str:
    if source.registered_model is not None:
        return f"{source.registered_model}-nern"
    raise NernError("no_model_name", f"{source.origin} belongs to no registered model: choose one with --register-as.")


def _experiment(tracking: MlflowClient, order: Order, source: Source) -> str:
    """Return the experiment in the request, else that of the run that created the checkpoint."""
    if order.experiment is not None:
        found = tracking.get_experiment_by_name(order.experiment)
        return tracking.create_experiment(order.experiment) if found is None else found.experiment_id
    if source.experiment_id is not None:
        return source.experiment_id
    if source.run_id is None:
        return _DEFAULT_EXPERIMENT
    experiment_id: str = tracking.get_run(source.run_id).info.experiment_id
    return experiment_id


def _key(sha256: str, options: Mapping[str, Any], model: str) -> str:
    request = json.dumps([sha256, options, model], sort_keys=True)
    return hashlib.sha256(request.encode()).hexdigest()


def _tags_of(job: Job) -> dict[str, str]:
    return {
        JOB_ID: job.id,
        ENCODING_SHA256: job.artifacts["encoding.nern"].sha256,
        WEIGHTS_SHA256: job.artifacts["weights.safetensors"].sha256,
        **verdict_tags(job),
    }


def _description(job: Job, source: Source) -> str:
    figures = dict(job.metrics or {})
    sizes = f"{figures['file_bytes']:,} bytes instead of {figures['source_bytes']:,}"
    accuracies = ""
    if figures["reconstructed_accuracy"] is not None:
        accuracies = f", {figures['reconstructed_accuracy']:.2f} % instead of {figures['original_accuracy']:.2f} %"
    return f"Compact representation of {source.origin}: {sizes}{accuracies}."


def _found(tracking: MlflowClient, version: ModelVersion) -> Result:
    assert version.run_id is not None
    run = tracking.get_run(version.run_id)
    if run.info.status == "RUNNING":
        # The process that created the version was interrupted at this point.
        tracking.set_terminated(version.run_id, "FINISHED")
    return Result(
        model=version.name,
        version=str(version.version),
        source=version.tags[SOURCE],
        run_id=version.run_id,
        job_id=version.tags[JOB_ID],
        made=False,
        metrics=recorded_figures(run),
    )
