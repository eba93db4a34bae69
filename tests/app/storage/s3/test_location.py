from typing import Any

import pytest

from app.settings import Downloads, Settings
from app.storage import check_storage, open_store
from app.storage.folder import FolderStore
from app.storage.s3.location import Credentials, Location
from app.storage.s3.store import S3Store
from nern_core.contract.errors import NernError

KEYS: dict[str, Any] = {"s3_access_key_id": "id", "s3_secret_access_key": "secret"}
AWS = {"AWS_ACCESS_KEY_ID": "aws", "AWS_SECRET_ACCESS_KEY": "aws secret", "AWS_SESSION_TOKEN": "token"}


def bucket(url: str = "s3://models/nern", **settings: Any) -> Settings:
    return Settings(artifact_store=url, **settings)


def test_a_bucket_has_a_prefix_or_none() -> None:
    for url, prefix, key in (("s3://models", "", "a"), ("s3://models/x/y/", "x/y", "x/y/a")):
        location = Location.of(bucket(url), {})
        assert (location.bucket, location.prefix, location.key("a")) == ("models", prefix, key)


def test_without_more_it_is_at_aws_and_the_role_of_the_machine_asks() -> None:
    location = Location.of(bucket(), {})
    assert (location.region, location.endpoint) == ("us-east-1", "https://s3.us-east-1.amazonaws.com")
    assert location.credentials is None


def test_the_variables_of_aws_are_read() -> None:
    location = Location.of(bucket(), AWS | {"AWS_REGION": "eu-west-1"})
    assert location.endpoint == "https://s3.eu-west-1.amazonaws.com"
    assert location.credentials == Credentials("aws", "aws secret", "token")
    named = {"AWS_DEFAULT_REGION": "eu-west-2", "AWS_ENDPOINT_URL": "https://all", "AWS_ENDPOINT_URL_S3": "https://s3"}
    assert (Location.of(bucket(), named).region, Location.of(bucket(), named).endpoint) == ("eu-west-2", "https://s3")


def test_the_settings_come_before_them_and_keys_are_never_mixed() -> None:
    settings = bucket(s3_endpoint="https://minio.example.org:443/", s3_region="here", **KEYS)
    location = Location.of(settings, AWS | {"AWS_REGION": "there", "AWS_ENDPOINT_URL_S3": "https://there"})
    assert (location.region, location.endpoint) == ("here", "https://minio.example.org")
    assert location.credentials == Credentials("id", "secret", None)


@pytest.mark.parametrize(
    ("settings", "environment", "sentence"),
    [
        ({"s3_endpoint": "http://minio:9000"}, {}, "unencrypted"),
        ({}, {"AWS_ENDPOINT_URL": "http://minio:9000"}, "unencrypted"),
        ({"s3_endpoint": "https://a", "s3_public_endpoint": "http://b"}, {}, "unencrypted"),
        ({"s3_endpoint": "https://minio/path"}, {}, "only scheme, host and port"),
        ({"s3_endpoint": "https://id:secret@minio"}, {}, "only scheme, host and port"),
        ({}, {"AWS_ENDPOINT_URL": "ftp://minio"}, "must start with https"),
        ({}, {"AWS_ACCESS_KEY_ID": "alone"}, "belong together"),
        ({"downloads": Downloads.REDIRECTED}, {}, "needs keys to sign"),
    ],
)
def test_what_is_not_safe_or_cannot_work_is_refused(
    settings: dict[str, Any], environment: dict[str, str], sentence: str
) -> None:
    with pytest.raises(NernError, match=sentence) as refused:
        Location.of(bucket(**settings), environment)
    assert refused.value.code == "storage_settings"
    assert "secret" not in refused.value.message


def test_a_store_without_tls_is_for_this_machine_or_a_network_that_is_trusted() -> None:
    for endpoint in ("http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost:9000"):
        assert Location.of(bucket(s3_endpoint=endpoint), {}).endpoint == endpoint
    trusted = Location.of(bucket(s3_endpoint="http://minio:9000", s3_allow_http=True), {})
    assert trusted.endpoint == trusted.public_endpoint == "http://minio:9000"


def test_clients_may_know_the_store_by_another_address() -> None:
    settings = bucket(s3_endpoint="https://minio", s3_public_endpoint="https://files.example.org")
    assert Location.of(settings, {}).public_endpoint == "https://files.example.org"


def test_the_settings_choose_the_store(embedded: Settings) -> None:
    check_storage(embedded)
    assert isinstance(open_store(embedded), FolderStore)
    chosen = embedded.model_copy(update={"artifact_store": "s3://models"})
    assert isinstance(open_store(chosen), S3Store)
