"""`nern_mlflow.encode` with a real MLflow server and the real API; the tests do the work of the worker."""

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from app.jobs.events.repository import EventRepository
from app.settings import Settings
from nern_client import Client, Job, JobCanceled, JobFailed
from nern_core.contract.errors import NernError
from tests.conftest import EXAMPLE, transaction
from tests.mlflow_server import log_model, register
from tests.nern_client.conftest import METRICS, QUICK, fail, listening, succeed

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from nern_mlflow.encode import Order, Result, Wait

pytestmark = pytest.mark.slow
Encode: TypeAlias = "Callable[[Order, Wait], Result]"
DIGEST = hashlib.sha256(EXAMPLE.read_bytes()).hexdigest()
RESULTS = {
    "weights.safetensors": EXAMPLE.read_bytes(),
    "weights.pt": b"the same weights",
    "encoding.nern": b"the encoding",
    "report.json": b"{}",
    "report.html": b"<html>",
}


@pytest.fixture
def service(embedded: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of the API."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with listening(embedded) as port, Client(f"http://127.0.0.1:{port}", retries=QUICK) as client:
        yield client


@pytest.fixture
def encode(tracking: "MlflowClient", service: Client) -> Encode:
    """The tested function, with both clients."""
    from nern_mlflow.encode import encode

    return lambda order, wait: encode(tracking, service, order, wait)


@pytest.fixture
def succeeding(embedded: Settings, service: Client) -> "Wait":
    """A function that waits for a job while a worker completes it."""

    def wait(job_id: str, on_update: Callable[[Job], None]) -> Job:
        succeed(embedded, job_id, RESULTS)
        return service.jobs.wait(job_id, on_update=on_update)

    return wait


def order(source: str, **more: Any) -> "Order":
    from nern_mlflow.encode import Order

    return Order(source=source, options={"steps": 20}, **more)


@pytest.mark.gate
def test_a_version_of_a_model_becomes_a_version_of_another(
    tracking: "MlflowClient", registered_model: str, encode: Encode, succeeding: "Wait"
) -> None:
    result = encode(order(f"models:/{registered_model}/1"), succeeding)
    assert (result.model, result.version, result.source, result.made) == (
        f"{registered_model}-nern",
        "1",
        f"models:/{registered_model}/1",
        True,
    )
    version = tracking.get_model_version(result.model, "1")
    assert version.run_id == result.run_id
    assert version.tags["nern.job_id"] == result.job_id
    assert version.tags["nern.source"] == f"models:/{registered_model}/1"
    assert version.tags["nern.source_sha256"] == DIGEST
    assert version.tags["nern.weights_sha256"] == DIGEST
    assert version.tags["nern.encoding_sha256"] == hashlib.sha256(b"the encoding").hexdigest()
    assert version.description == f"Compact representation of models:/{registered_model}/1: 50 bytes instead of 100."


def test_the_newest_version_is_looked_up(
    tracking: "MlflowClient", registered_model: str, encode: Encode, succeeding: "Wait", tmp_path: Path
) -> None:
    model_id = log_model(tracking, registered_model, tmp_path / "model.safetensors")
    tracking.create_model_version(registered_model, f"models:/{model_id}", model_id=model_id)
    result = encode(order(f"models:/{registered_model}/latest"), succeeding)
    assert (result.source, result.model) == (f"models:/{registered_model}/2", f"{registered_model}-nern")


def test_a_logged_model_is_encoded_for_the_registered_model_that_it_is_a_version_of(
    tracking: "MlflowClient", registered_model: str, encode: Encode, succeeding: "Wait", tmp_path: Path
) -> None:
    model_id = log_model(tracking, registered_model, tmp_path / "model.safetensors")
    with pytest.raises(NernError, match="belongs to no registered model: choose one with --register-as"):
        encode(order(f"models:/{model_id}"), succeeding)
    # As written by `log_model(registered_model_name=…)`.
    tracking.set_logged_model_tags(
        model_id, {"mlflow.modelVersions": json.dumps([{"name": registered_model, "version": 2}])}
    )
    result = encode(order(f"models:/{model_id}"), succeeding)
    assert (result.source, result.model) == (f"models:/{model_id}", f"{registered_model}-nern")


def test_a_stage_without_versions_is_told(
    tracking: "MlflowClient", registered_model: str, encode: Encode, succeeding: "Wait"
) -> None:
    with pytest.raises(NernError, match="has no version 'Production'"):
        encode(order(f"models:/{registered_model}/Production"), succeeding)


def test_the_run_has_the_options_the_figures_and_the_files(
    tracking: "MlflowClient", registered_model: str, encode: Encode, succeeding: "Wait", tmp_path: Path
) -> None:
    result = encode(order(f"models:/{registered_model}/1"), succeeding)
    run = tracking.get_run(result.run_id)
    assert run.info.status == "FINISHED"
    assert (run.data.params["steps"], run.data.params["recipe"], run.data.params["seed"]) == ("20", "fast", "0")
    assert "dataset" not in run.data.params
    assert run.data.metrics == {
        **{name: value for name, value in METRICS.items() if isinstance(value, int | float)},
        "tensor_bytes": 0,
        "integer_bytes": 0,
        "seconds/total": 1.5,
    }
    assert run.data.metrics == result.metrics
    files = [file.path for file in tracking.list_artifacts(result.run_id, "nern")]
    assert files == [f"nern/{name}" for name in sorted(RESULTS.keys() - {"weights.pt"})]
    from mlflow.artifacts import download_artifacts

    weights = download_artifacts(f"models:/{registered_model}-nern/1/weights.safetensors", dst_path=str(tmp_path))
    assert Path(weights).read_bytes() == EXAMPLE.read_bytes()


def test_each_phase_has_curves_of_its_own_with_each_step_once(
    tracking: "MlflowClient", registered_model: str, encode: Encode, service: Client, embedded: Settings
) -> None:
    def wait(job_id: str, on_update: Callable[[Job], None]) -> Job:
        moment = datetime.now(UTC)
        for phase, step, loss in (
            ("reconstruction", 10, 0.5),
            ("reconstruction", 20, 0.25),
            ("reconstruction", 20, 0.25),
            ("distillation", 3, 4.0),
        ):
            moment += timedelta(minutes=1)
            told = {"phase": phase, "step": step, "loss": loss, "steps_per_second": 2.0, "kernels_per_second": None}
            with transaction(embedded) as session:
                EventRepository(session).add_progress(job_id, moment, told)
            on_update(service.jobs.get(job_id))
        succeed(embedded, job_id, RESULTS)
        return service.jobs.wait(job_id, on_update=on_update)

    result = encode(order(f"models:/{registered_model}/1"), wait)

    def curve(name: str) -> list[tuple[int, float]]:
        return [(point.step, point.value) for point in tracking.get_metric_history(result.run_id, name)]

    assert curve("reconstruction/loss") == [(10, 0.5), (20, 0.25)]
    assert curve("reconstruction/steps_per_second") == [(10, 2.0), (20, 2.0)]
    assert curve("distillation/loss") == [(3, 4.0)]
    assert curve("reconstruction/kernels_per_second") == []


def test_what_was_done_is_not_done_again(
    tracking: "MlflowClient",
    registered_model: str,
    encode: Encode,
    succeeding: "Wait",
    service: Client,
) -> None:
    first = encode(order(f"models:/{registered_model}/1"), succeeding)
    second = encode(order(f"models:/{registered_model}/1"), succeeding)
    assert (second.made, second.version, second.run_id, second.job_id) == (False, "1", first.run_id, first.job_id)
    assert second.metrics == first.metrics
    assert len(list(service.jobs.list())) == 1
    third = encode(order(f"models:/{registered_model}/1", again=True), succeeding)
    assert (third.made, third.version) == (True, "2")
    assert third.run_id != first.run_id


def test_other_options_are_another_version(registered_model: str, encode: Encode, succeeding: "Wait") -> None:
    from nern_mlflow.encode import Order

    versions = [
        encode(Order(source=f"models:/{registered_model}/1", options={"steps": 20, "seed": seed}), succeeding).version
        for seed in (0, 1)
    ]
    assert versions == ["1", "2"]


def test_what_was_interrupted_is_gone_on_with(
    tracking: "MlflowClient",
    registered_model: str,
    encode: Encode,
    succeeding: "Wait",
    service: Client,
) -> None:
    def interrupted(job_id: str, on_update: Callable[[Job], None]) -> Job:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(order(f"models:/{registered_model}/1"), interrupted)
    (job,) = service.jobs.list()
    run_id = job.labels["mlflow.run"]
    assert tracking.get_run(run_id).info.status == "RUNNING"
    result = encode(order(f"models:/{registered_model}/1"), succeeding)
    assert (result.run_id, result.job_id, result.made) == (run_id, job.id, True)
    assert tracking.get_run(run_id).info.status == "FINISHED"


def test_a_run_ends_as_its_job(
    tracking: "MlflowClient",
    registered_model: str,
    encode: Encode,
    service: Client,
    embedded: Settings,
) -> None:
    def failing(job_id: str, on_update: Callable[[Job], None]) -> Job:
        fail(embedded, job_id)
        return service.jobs.wait(job_id)

    def canceled(job_id: str, on_update: Callable[[Job], None]) -> Job:
        service.jobs.cancel(job_id)
        return service.jobs.wait(job_id)

    with pytest.raises(JobFailed):
        encode(order(f"models:/{registered_model}/1"), failing)
    with pytest.raises(JobCanceled):
        encode(order(f"models:/{registered_model}/1"), canceled)
    runs = [tracking.get_run(job.labels["mlflow.run"]) for job in service.jobs.list()]
    assert [run.info.status for run in runs] == ["KILLED", "FAILED"]
    assert runs[1].data.tags["nern.error"] == "The job needs more memory than there is."


def test_an_alias_and_an_artifact_of_a_run_name_checkpoints_too(
    tracking: "MlflowClient", registered_model: str, encode: Encode, succeeding: "Wait"
) -> None:
    tracking.set_registered_model_alias(registered_model, "champion", "1")
    first = encode(order(f"models:/{registered_model}@champion", register_as=f"{registered_model}-small"), succeeding)
    assert (first.source, first.model) == (f"models:/{registered_model}/1", f"{registered_model}-small")
    run_id = tracking.get_model_version(registered_model, "1").run_id
    second = encode(order(f"runs:/{run_id}/checkpoint", register_as=f"{registered_model}-of-run"), succeeding)
    assert (second.source, second.model) == (f"runs:/{run_id}/checkpoint", f"{registered_model}-of-run")
    with pytest.raises(NernError, match="choose one with --register-as"):
        encode(order(f"runs:/{run_id}/checkpoint"), succeeding)


def test_the_run_is_recorded_where_it_is_asked_for(
    tracking: "MlflowClient", registered_model: str, encode: Encode, succeeding: "Wait"
) -> None:
    result = encode(order(f"models:/{registered_model}/1", experiment=f"compression of {registered_model}"), succeeding)
    experiment = tracking.get_experiment_by_name(f"compression of {registered_model}")
    assert experiment is not None
    assert tracking.get_run(result.run_id).info.experiment_id == experiment.experiment_id


@pytest.mark.filterwarnings("ignore")  # of MLflow's flavours, when they are imported
def test_a_pickled_module_is_refused_before_anything_is_recorded(
    tracking: "MlflowClient",
    encode: Encode,
    succeeding: "Wait",
    service: Client,
    tmp_path: Path,
) -> None:
    import mlflow
    import torch

    with mlflow.start_run():
        mlflow.pytorch.log_model(
            torch.nn.Conv2d(3, 8, 3),
            name="model",
            registered_model_name="pickled",
            serialization_format="pickle",
            pip_requirements=[],
        )
    with pytest.raises(NernError, match="'data/model.pth' is a whole module") as refused:
        encode(order("models:/pickled/1"), succeeding)
    assert refused.value.code == "pickled_module"
    torch.save(torch.nn.Conv2d(3, 8, 3), tmp_path / "model.pt")
    register(tracking, "disguised", tmp_path / "model.pt")
    with pytest.raises(NernError, match="code from files is never run") as refused:
        encode(order("models:/disguised/1"), succeeding)
    assert refused.value.code == "executable_checkpoint"
    assert "mlflow.pytorch.log_state_dict" in refused.value.message
    assert list(service.jobs.list()) == []


@pytest.mark.filterwarnings("ignore")  # of MLflow's flavours, when they are imported
def test_a_state_dict_that_mlflow_has_logged_is_taken(
    tracking: "MlflowClient", encode: Encode, succeeding: "Wait"
) -> None:
    import mlflow
    import torch

    with mlflow.start_run() as run:
        mlflow.pytorch.log_state_dict(torch.nn.Conv2d(3, 16, 3).state_dict(), "checkpoint")
    result = encode(order(f"runs:/{run.info.run_id}", register_as="conv"), succeeding)
    assert result.version == "1"
