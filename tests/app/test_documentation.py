import json

from starlette.testclient import TestClient

from nern_core.contract.options import EncodeOptions
from tests.conftest import ROOT


def test_the_documentation_shows_every_address_and_option(embedded_client: TestClient) -> None:
    document = embedded_client.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/architectures",
        "/checkpoints",
        "/checkpoints/{sha256}",
        "/datasets",
        "/datasets/{name}",
        "/jobs",
        "/jobs/{job_id}",
        "/jobs/{job_id}/artifacts/{name}",
        "/jobs/{job_id}/cancel",
        "/jobs/{job_id}/deliveries",
        "/jobs/{job_id}/encoding",
        "/jobs/{job_id}/events",
        "/jobs/{job_id}/importance",
        "/jobs/{job_id}/report",
        "/jobs/{job_id}/weights",
        "/livez",
        "/metrics",
        "/options/schema",
        "/readyz",
        "/recipes",
        "/reconstructions",
        "/uploads",
        "/uploads/{upload_id}",
        "/webhooks/secret",
        "/webhooks/secret/rotate",
    }
    form = document["paths"]["/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    reference = form["properties"]["options"]["$ref"].rpartition("/")[2]
    assert set(document["components"]["schemas"][reference]["properties"]) == set(EncodeOptions.model_fields)


def test_the_description_in_the_repository_is_the_one_that_is_served(embedded_client: TestClient) -> None:
    kept = json.loads((ROOT / "docs" / "openapi.json").read_text())
    assert embedded_client.get("/openapi.json").json() == kept, "the API has changed: run `make generate`, and commit"


def test_every_error_is_documented_as_problem_details(embedded_client: TestClient) -> None:
    document = embedded_client.get("/openapi.json").json()
    errors = [
        (path, status, answer)
        for path, methods in document["paths"].items()
        for method in methods.values()
        for status, answer in method["responses"].items()
        if status.startswith(("4", "5"))
    ]
    assert errors
    for path, status, answer in errors:
        assert list(answer["content"]) == ["application/problem+json"], (path, status)


def test_a_method_that_an_address_does_not_take_is_told_which_it_takes(embedded_client: TestClient) -> None:
    answer = embedded_client.patch("/jobs/job_1")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE, GET")
