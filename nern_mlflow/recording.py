"""Record one job as one MLflow run: options as parameters, progress as metrics, results as artifacts."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run

from nern_client import ApiError, Job, JobCanceled, JobEvent, JobNotSucceeded, NoSuchArtifact
from nern_mlflow.tags import ERROR, JOB_ID, KEY, VERDICT, VERDICT_SENTENCE

RESULTS_FOLDER = "nern"
_SECONDS = "seconds/"
# Most metrics that MLflow accepts in one request.
_MOST_METRICS = 1000
_CURVES = ("loss", "steps_per_second", "kernels_per_second")


class Recording:
    """A run being recorded. Recording the same data again is a no-op, so that another process can resume.

    `last_event` is the number of the job's last recorded event.
    """

    def __init__(self, tracking: MlflowClient, run: Run) -> None:
        self.run_id: str = run.info.run_id
        self.job_id: str | None = run.data.tags.get(JOB_ID)
        self._tracking = tracking
        self._artifacts: str = run.info.artifact_uri
        self.last_event = 0
        self._last_place: tuple[Any, Any] = (None, None)

    @classmethod
    def begin(cls, tracking: MlflowClient, experiment_id: str, name: str, tags: Mapping[str, str]) -> Self:
        """Begin a run."""
        own = {"mlflow.source.name": "nern mlflow encode", "mlflow.source.type": "LOCAL"}
        return cls(tracking, tracking.create_run(experiment_id, tags=own | dict(tags), run_name=name))

    @classmethod
    def unfinished(cls, tracking: MlflowClient, experiment_id: str, key: str) -> Self | None:
        """Return the interrupted run of the same request, if any."""
        wanted = f"tags.`{KEY}` = '{key}' and attributes.status = 'RUNNING'"
        runs = tracking.search_runs([experiment_id], wanted, max_results=1)
        return cls(tracking, runs[0]) if runs else None

    @property
    def results_uri(self) -> str:
        """Address of the results among MLflow's artifacts."""
        return f"{self._artifacts}/{RESULTS_FOLDER}"

    @contextmanager
    def of_job(self) -> Iterator[None]:
        """End the run when its job ends. After any other interruption, the run is left to the next process."""
        try:
            yield
        except (JobNotSucceeded, ApiError, NoSuchArtifact) as error:
            if not error.temporary:
                self._tracking.set_tag(self.run_id, ERROR, str(error))
                self._end("KILLED" if isinstance(error, JobCanceled) else "FAILED")
            raise
        self._end("FINISHED")

    def begin_job(self, job: Job) -> None:
        """Record the id and the options of the job."""
        params = [Param(name, _text(value)) for name, value in (job.options or {}).items() if value is not None]
        self._tracking.log_batch(self.run_id, params=params)
        self._tracking.set_tag(self.run_id, JOB_ID, job.id)
        self.job_id = job.id

    def follow(self, events: Iterable[JobEvent]) -> None:
        """Record the progress since the last call."""
        metrics: list[Metric] = []
        for event in events:
            self.last_event = event.number
            # A slow job reports the same step several times.
            place = (event.data.get("phase"), event.data.get("step"))
            if event.kind == "progress" and place != self._last_place:
                self._last_place = place
                metrics += _points(event)
        self._log(metrics)

    def add_results(self, job: Job, folder: Path) -> dict[str, float]:
        """Record the metrics and upload the files in a folder. Return the metrics."""
        figures = figures_of(job)
        moment = round((job.finished_at or job.created_at).timestamp() * 1000)
        self._log([Metric(name, value, moment, 0) for name, value in figures.items()])
        for tag, value in verdict_tags(job).items():
            self._tracking.set_tag(self.run_id, tag, value)
        self._tracking.log_artifacts(self.run_id, str(folder), RESULTS_FOLDER)
        return figures

    def _log(self, metrics: Sequence[Metric]) -> None:
        for start in range(0, len(metrics), _MOST_METRICS):
            self._tracking.log_batch(self.run_id, metrics=metrics[start : start + _MOST_METRICS])

    def _end(self, status: str) -> None:
        self._tracking.set_terminated(self.run_id, status)


def figures_of(job: Job) -> dict[str, float]:
    """Return the metrics of a job by name, without unknown ones."""
    given = dict(job.metrics or {})
    seconds: Mapping[str, float] = given.pop("seconds", {})
    fidelity: Mapping[str, Any] = given.pop("fidelity", None) or {"outputs": ()}
    figures = {name: float(value) for name, value in given.items() if isinstance(value, int | float)}
    for name in ("agreement", "mean_iou", "box_f1", "original_perplexity", "reconstructed_perplexity"):
        if fidelity.get(name) is not None:
            figures[name] = float(fidelity[name])
    if fidelity["outputs"]:
        figures["output_error"] = max(float(output["relative_error"]) for output in fidelity["outputs"])
    if {"original_accuracy", "reconstructed_accuracy"} <= figures.keys():
        figures["accuracy_drop"] = figures["original_accuracy"] - figures["reconstructed_accuracy"]
    return figures | {f"{_SECONDS}{phase}": value for phase, value in seconds.items()}


def verdict_tags(job: Job) -> dict[str, str]:
    """Return the verdict on a job as tags: its level, and its sentence with the advice."""
    verdict: Mapping[str, str | None] | None = (job.metrics or {}).get("verdict")
    if verdict is None:
        return {}
    sentence = " ".join(filter(None, (verdict["sentence"], verdict.get("advice"))))
    return {VERDICT: str(verdict["level"]), VERDICT_SENTENCE: sentence}


def recorded_figures(run: Run) -> dict[str, float]:
    """Return the metrics of a run, without its curves."""
    metrics: Mapping[str, float] = run.data.metrics
    return {name: value for name, value in metrics.items() if "/" not in name or name.startswith(_SECONDS)}


def _points(event: JobEvent) -> list[Metric]:
    """Return the points that a progress event adds to the curves of its phase; none if it has no loss."""
    data = event.data
    moment = round(event.time.timestamp() * 1000)
    return [
        Metric(f"{data['phase']}/{name}", data[name], moment, data["step"])
        for name in _CURVES
        if data.get("loss") is not None and data.get(name) is not None
    ]


def _text(value: Any) -> str:  # noqa: ANN401 # any option
    return value if isinstance(value, str) else json.dumps(value)
