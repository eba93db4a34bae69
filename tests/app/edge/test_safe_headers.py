import re

import pytest
from starlette.testclient import TestClient

from app.settings import Settings
from tests.app.conftest import serving, submit

ADDRESSES = ["/livez", "/jobs", "/jobs/job_unknown", "/nowhere", "/openapi.json"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_answer_tells_browsers_to_do_nothing_with_it(embedded_client: TestClient, address: str) -> None:
    headers = embedded_client.get(address).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["Cache-Control"] == "no-store"


def test_a_refusal_of_the_edge_does_so_too(embedded: Settings) -> None:
    with serving(embedded) as client:
        answer = client.get("/jobs", headers={"Host": "evil.example"})
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_documentation_page_runs_its_own_scripts_only(embedded_client: TestClient) -> None:
    answer = embedded_client.get("/docs")
    policy = answer.headers["Content-Security-Policy"]
    scripts = policy.partition("script-src ")[2].partition(";")[0].split()
    assert scripts[0] == "https://cdn.jsdelivr.net"
    assert len(scripts) == 2
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", scripts[1])
    assert "frame-ancestors 'none'" in policy
    sources = re.findall(r'<(?:script|link)[^>]+(?:src|href)="([^"]+)"', answer.text)
    assert all(source.startswith(("https://cdn.jsdelivr.net/", "https://fastapi.tiangolo.com/")) for source in sources)


def test_no_other_page_of_documentation_is_served(embedded_client: TestClient) -> None:
    assert embedded_client.get("/redoc").status_code == 404


def test_a_job_is_not_kept_by_caches(embedded_client: TestClient) -> None:
    assert submit(embedded_client).headers["Cache-Control"] == "no-store"
