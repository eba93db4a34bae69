import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

import nern_client
from nern_client import Client, EncodeOptions, Job, NernClientError, Retries
from nern_client.retries import parse_retry_after
from nern_core.contract.options import EncodeOptions as CoreOptions
from scripts import write_options
from tests.conftest import ROOT


def test_the_options_are_those_of_the_method() -> None:
    assert list(EncodeOptions.__annotations__) == list(CoreOptions.model_fields)
    current = write_options.CLIENT.read_text() == write_options.client_module()
    assert current, "the options have changed: run `make generate`, and commit"


def test_what_is_public_is_there() -> None:
    assert nern_client.__all__ == sorted(nern_client.__all__)
    assert all(hasattr(nern_client, name) for name in nern_client.__all__)


def test_it_needs_nothing_of_the_service_or_the_method() -> None:
    program = (
        "import sys\nimport nern_client\n"
        "assert not {'app', 'worker', 'nern_core', 'torch', 'numpy', 'sqlalchemy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_pauses_grow_to_a_limit_and_are_never_shorter_than_told() -> None:
    retries = Retries(first_pause=1, longest_pause=8)
    for failures, longest in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (50, 8)):
        assert longest / 2 <= retries.pause(failures, None) <= longest
    assert retries.pause(1, 5) == 5


@pytest.mark.parametrize(("told", "seconds"), [("7", 7), (" 7 ", 7), ("", None), ("soon", None), ("-1", None)])
def test_retry_after_in_seconds(told: str, seconds: float | None) -> None:
    assert parse_retry_after({"retry-after": told}) == seconds


def test_retry_after_as_a_date() -> None:
    told = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert parse_retry_after({"retry-after": told}) == pytest.approx(90, abs=2)
    assert parse_retry_after({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}) == 0


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(NernClientError, match="must start with http:// or https://; it is 'ftp://x'"):
        Client("ftp://x")


def test_the_environment_names_the_service_and_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERN_URL", "https://nern.example/prefix/")
    monkeypatch.setenv("NERN_API_KEY", "nern_x")
    with Client() as client:
        assert str(client._http.base_url) == "https://nern.example/prefix/"
        assert client._http.auth is not None
        asked = next(client._http.auth.auth_flow(client._http.build_request("GET", "/jobs")))
        assert asked.headers["Authorization"] == "Bearer nern_x"


def test_fields_that_a_later_service_has_are_kept() -> None:
    told = {
        "id": "job_1",
        "status": "queued",
        "message": "",
        "options": {},
        "checkpoint": {"bytes": 1, "sha256": "x", "name": "model"},
        "attempt": 0,
        "artifacts": {},
        "created_at": "2026-11-26T00:00:00Z",
        "labels": {"team": "vision"},
    }
    kept = Job.model_validate(told).model_dump(mode="json", exclude_unset=True)
    assert kept == told


@pytest.mark.parametrize("key", ["nern_é", "nern_a\nHost: x"])
def test_a_key_that_is_none_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(NernClientError, match=r"^The API key contains invalid characters; check NERN_API_KEY\.$"):
        Client(api_key=key)
