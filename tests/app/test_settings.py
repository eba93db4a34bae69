import re
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Authentication, Downloads, Settings
from tests.conftest import ROOT


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    assert [name for name in Settings.model_fields if f"| `NERN_{name.upper()}` |" not in text] == []


# Read by the client, the tools and the tests, which have no settings of the service.
READ_ELSEWHERE = {
    *("NERN_API_KEY", "NERN_CHAOS_SCALE", "NERN_DEBUG", "NERN_NNCODEC_PYTHON", "NERN_URL"),
    *("NERN_TEST_ASSETS", "NERN_TEST_POSTGRES_URL", "NERN_TEST_REDIS_URL"),
}
FOLDERS = ("app", "bench", "deploy", "docs", "examples", "nern_cli", "nern_client", "nern_core", "scripts", "worker")
TEXTS = {".cfg", ".html", ".json", ".md", ".py", ".sh", ".toml", ".yaml", ".yml", ""}


def test_every_setting_that_a_text_names_exists() -> None:
    files = [path for path in ROOT.iterdir() if path.is_file()]
    files += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    known = {f"NERN_{name.upper()}" for name in Settings.model_fields} | READ_ELSEWHERE
    unknown = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        if path.suffix in TEXTS
        for name in re.findall(r"\bNERN_[A-Z0-9_]*[A-Z0-9]\b", path.read_text(encoding="utf-8", errors="ignore"))
        if name not in known
    }
    assert unknown == set()


def test_the_environment_is_read_as_it_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERN_DATASET_ROOTS", "/data:/more")
    monkeypatch.setenv("NERN_MAX_UPLOAD_BYTES", "8GiB")
    monkeypatch.setenv("NERN_LEASE", "45")
    found = Settings()
    assert found.dataset_roots == (Path("/data"), Path("/more"))
    assert found.max_upload_bytes == 8 * 2**30
    assert found.lease == timedelta(seconds=45)


def test_the_defaults_are_one_folder_and_no_servers() -> None:
    found = Settings(data_dir=Path("here"))
    assert found.embedded
    assert (found.database, found.artifacts, found.scratch) == (
        "sqlite:///here/nern.db",
        Path("here/artifacts"),
        Path("here/scratch"),
    )


@pytest.mark.parametrize("server", [{"database_url": "postgresql+psycopg://h/d"}, {"broker_url": "redis://h"}])
def test_any_server_ends_the_embedded_mode(server: dict[str, str]) -> None:
    assert not Settings(**server).embedded  # type: ignore[arg-type] # fields are given by name


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(Settings(database_url="postgresql://u:hunter2@h/d", broker_url="redis://:hunter2@h"))
    keys = Settings(artifact_store="s3://models", s3_access_key_id="id", s3_secret_access_key="hunter2")  # type: ignore[arg-type] # as the environment gives it
    assert "hunter2" not in repr(keys)
    assert "hunter2" not in keys.model_dump_json()


@pytest.mark.parametrize(
    "url",
    ["models", "http://models", "s3://", "s3://Models", "s3://ab", "s3://models/../x", "s3://models?x", "s3://a/b c"],
)
def test_what_is_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="artifact_store"):
        Settings(artifact_store=url)


@pytest.mark.parametrize(
    ("half", "sentence"),
    [
        ({"artifact_store": "s3://models", "s3_access_key_id": "id"}, "belong together"),
        ({"artifact_store": "s3://models", "s3_secret_access_key": "secret"}, "belong together"),
        ({"s3_endpoint": "https://minio"}, "`s3_endpoint` needs a bucket"),
        ({"downloads": Downloads.REDIRECTED}, "`downloads` needs a bucket"),
    ],
)
def test_half_a_bucket_is_refused(half: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Settings(**half)  # type: ignore[arg-type] # fields are given by name


def test_a_metrics_token_that_can_be_guessed_is_refused() -> None:
    assert Settings(metrics_token="x" * 16).metrics_token == "x" * 16
    for token in ("x" * 15, "sixteen letters and spaces"):
        with pytest.raises(ValidationError, match="metrics_token"):
            Settings(metrics_token=token)
    assert "x" * 16 not in repr(Settings(metrics_token="x" * 16))


def test_keys_are_needed_unless_everything_is_on_this_machine() -> None:
    server = {"database_url": "postgresql+psycopg://h/d"}
    assert not Settings().keys_required
    assert Settings(**server).keys_required  # type: ignore[arg-type] # fields are given by name
    assert Settings(authentication=Authentication.KEYS).keys_required
    assert not Settings(**server, authentication=Authentication.NONE).keys_required  # type: ignore[arg-type] # as above


def test_authentication_is_keys_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERN_AUTHENTICATION", "keys")
    assert Settings().keys_required
    monkeypatch.setenv("NERN_AUTHENTICATION", "no")
    with pytest.raises(ValidationError, match="'keys' or 'none'"):
        Settings()


def test_hosts_are_those_of_loopback_and_what_the_operator_names(monkeypatch: pytest.MonkeyPatch) -> None:
    loopback = ("localhost", "127.0.0.1", "[::1]")
    assert Settings().hosts == loopback
    assert Settings(authentication=Authentication.KEYS).hosts == ("*",)
    monkeypatch.setenv("NERN_ALLOWED_HOSTS", "nern.example.org, other.example.org")
    named = ("nern.example.org", "other.example.org", *loopback)
    assert Settings().hosts == Settings(authentication=Authentication.KEYS).hosts == named


def test_networks_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERN_OUTBOUND_NETWORKS", "10.1.0.0/16,fd00:1::/32")
    assert Settings().outbound_networks == (ip_network("10.1.0.0/16"), ip_network("fd00:1::/32"))


def test_the_mlflow_server_has_an_address_of_the_web_which_is_not_shown() -> None:
    found = Settings(mlflow_tracking_uri="https://me:hunter2@mlflow.example/prefix", mlflow_tracking_token="hunter2")
    assert "hunter2" not in repr(found)
    for uri in ("sqlite:///mlflow.db", "mlruns", "http://", "https:// x"):
        with pytest.raises(ValidationError, match="mlflow_tracking_uri"):
            Settings(mlflow_tracking_uri=uri)
