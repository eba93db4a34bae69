import pytest

from app.settings import Authentication, Settings
from tests.app.conftest import serving


def status(settings: Settings, host: str) -> int:
    with serving(settings) as client:
        return client.get("/livez", headers={"Host": host}).status_code


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:8000"])
def test_without_keys_the_service_answers_to_the_names_of_loopback(embedded: Settings, host: str) -> None:
    assert status(embedded, host) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.nip.io", "", "[::1", "::1", "x:y:1"],
)
def test_without_keys_it_answers_to_no_other_name(embedded: Settings, host: str) -> None:
    with serving(embedded) as client:
        answer = client.get("/jobs", headers={"Host": host})
    assert (answer.status_code, answer.json()["type"]) == (421, "unknown-host")
    assert "NERN_ALLOWED_HOSTS" in answer.json()["detail"]


def test_with_keys_it_answers_to_any_name(embedded: Settings) -> None:
    settings = embedded.model_copy(update={"authentication": Authentication.KEYS})
    assert status(settings, "nern.example.org") == 200


def test_named_hosts_are_the_only_ones_beside_loopback(embedded: Settings) -> None:
    settings = embedded.model_copy(
        update={"authentication": Authentication.KEYS, "allowed_hosts": ("nern.example.org",)}
    )
    assert [status(settings, host) for host in ("nern.example.org:443", "127.0.0.1", "other.example")] == [
        200,
        200,
        421,
    ]
