import pytest
from starlette.testclient import TestClient

from app.settings import Settings
from tests.app.conftest import serving, submit

ADDRESSES = ["/livez", "/jobs", "/jobs/job_unknown", "/nowhere", "/openapi.json"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_answer_tells_browsers_to_do_nothing_with_it(embedded_client: TestClient, address: str) -> None:
    headers = embedded_client.get(address).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["Cache-Control"] == "no-store"


def test_a_refusal_of_the_edge_does_so_too(embedded: Settings) -> None:
    with serving(embedded) as client:
        answer = client.get("/jobs", headers={"Host": "evil.example"})
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_no_other_page_of_documentation_is_served(embedded_client: TestClient) -> None:
    assert embedded_client.get("/redoc").status_code == 404


def test_a_job_is_not_kept_by_caches(embedded_client: TestClient) -> None:
    assert submit(embedded_client).headers["Cache-Control"] == "no-store"
