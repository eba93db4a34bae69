import pytest

from app.http.middleware.local_only import is_loopback
from app.settings import Authentication, Settings
from tests.app.conftest import serving


@pytest.mark.parametrize("address", ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_this_machine(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "10.0.0.1", "0.0.0.0", "::", "::ffff:10.0.0.1", "localhost", "testserver", "", "127.1"]
)
def test_everything_else_is_not(address: str) -> None:
    assert not is_loopback(address)


@pytest.mark.parametrize("address", ["192.0.2.1", "172.18.0.2", "somewhere"])
@pytest.mark.parametrize("path", ["/jobs", "/livez", "/docs", "/nowhere"])
def test_without_keys_other_machines_are_refused(embedded: Settings, address: str, path: str) -> None:
    settings = embedded.model_copy(update={"allowed_hosts": (address,)})
    with serving(settings, address=address) as client:
        answer = client.get(path)
    assert (answer.status_code, answer.json()["type"]) == (403, "this-machine-only")
    assert "NERN_AUTHENTICATION=keys" in answer.json()["detail"]


def test_with_keys_other_machines_are_served(embedded: Settings) -> None:
    settings = embedded.model_copy(update={"authentication": Authentication.KEYS})
    with serving(settings, address="192.0.2.1") as client:
        assert client.get("/livez").status_code == 200


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "http://127.0.0.1:3000"},
    {"Origin": "null"},
    {"Origin": "http://["},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_without_keys_a_page_of_another_origin_cannot_submit_jobs(embedded: Settings, headers: dict[str, str]) -> None:
    with serving(embedded) as client:
        answer = client.post("/jobs", files={"checkpoint": b"x"}, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (403, "foreign-origin")
        assert client.get("/jobs", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://127.0.0.1"},
        # A proxy may have changed `Host`; the browser's `Origin` counts.
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://nern.example.org"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_its_own_page_and_the_command_line_can(embedded: Settings, headers: dict[str, str]) -> None:
    with serving(embedded) as client:
        answer = client.post("/jobs", files={"checkpoint": b"x"}, headers=headers)
    assert answer.json()["type"] == "not-a-checkpoint"


def test_with_keys_the_origin_does_not_matter(embedded: Settings) -> None:
    settings = embedded.model_copy(update={"authentication": Authentication.KEYS})
    with serving(settings) as client:
        answer = client.post("/jobs", headers={"Origin": "https://evil.example"})
    assert answer.json()["type"] == "missing-key"
