"""The service as real processes, with its files in a bucket."""

import hashlib
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from app.db.schema import migrate
from app.settings import Downloads, Settings
from nern_client import Client
from tests.conftest import EXAMPLE
from tests.processes import Service, free_port
from tests.s3 import keys_of
from tests.service.conftest import Refusal


@pytest.mark.slow
def test_a_checkpoint_goes_in_and_its_results_come_out_of_the_bucket(with_bucket: Settings, tmp_path: Path) -> None:
    migrate(with_bucket)
    with ExitStack() as stack:
        service = Service(with_bucket, stack, tmp_path)
        api = service.start_api()
        service.start_worker()
        job = service.client.ended(service.client.submit(steps=2, hidden_size=8))
        assert job["status"] == "succeeded", job["message"]
        assert job["checkpoint"]["sha256"] == hashlib.sha256(EXAMPLE.read_bytes()).hexdigest()
        artifact = job["artifacts"]["weights.safetensors"]
        content = service.client.http.get(artifact["url"]).raise_for_status().content
        assert hashlib.sha256(content).hexdigest() == artifact["sha256"]
        part = service.client.http.get(artifact["url"], headers={"Range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, content[100:200])
        digests = {job["checkpoint"]["sha256"], *(found["sha256"] for found in job["artifacts"].values())}
        assert keys_of(with_bucket, "artifacts") == sorted(digests)

        api.terminate()
        api.wait(30)
        service.settings = with_bucket.model_copy(update={"downloads": Downloads.REDIRECTED})
        service.settings.model_fields_set.add("downloads")
        service.start_api()
        answer = service.client.http.get(artifact["url"])
        assert answer.status_code == 307
        assert httpx2.get(answer.headers["Location"]).content == content
        with Client(f"http://127.0.0.1:{service.port}") as client:
            client.jobs.download(job["id"], "weights.safetensors", tmp_path / "weights.safetensors")
        assert (tmp_path / "weights.safetensors").read_bytes() == content


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"NERN_S3_ENDPOINT": "https://minio.example.org"}, "`s3_endpoint` needs a bucket: set `artifact_store` too"),
        ({"NERN_ARTIFACT_STORE": "s3://models", "NERN_S3_ENDPOINT": "http://minio:9000"}, "unencrypted"),
        ({"NERN_ARTIFACT_STORE": "s3://models", "NERN_DOWNLOADS": "redirected"}, "needs keys to sign URLs"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_refused_at_the_start(
    refusal: Refusal, settings: dict[str, str], sentence: str
) -> None:
    assert sentence in refusal("api", "--port", str(free_port()), **settings)
