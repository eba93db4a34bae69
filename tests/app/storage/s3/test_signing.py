from datetime import UTC, datetime, timedelta

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from app.storage.s3.location import Credentials
from app.storage.s3.signing import signed_address

NOW = datetime(2013, 5, 24, tzinfo=UTC)
KEYS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")


def test_the_example_in_the_documentation_of_s3_has_its_signature() -> None:
    address = signed_address(
        "GET", "https://examplebucket.s3.amazonaws.com/test.txt", {}, KEYS, "us-east-1", timedelta(days=1), NOW
    )
    assert address == (
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


@pytest.mark.parametrize("token", [None, "a/token+of=a role"])
@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", "/bucket/a/prefix/artifacts/0123", {"response-content-disposition": 'attachment; filename="a b.pt"'}),
        ("GET", "/bucket", {"uploads": "", "prefix": "a/prefix/", "key-marker": "é&=~"}),
        ("DELETE", "/bucket/a/key", {"uploadId": "a.b_c-d/e+f"}),
    ],
)
def test_an_independent_implementation_signs_the_same(
    monkeypatch: pytest.MonkeyPatch, method: str, path: str, query: dict[str, str], token: str | None
) -> None:
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: NOW)
    request = AWSRequest(method, f"https://s3.example.org:9000{path}", params=query)
    credentials = BotoCredentials(KEYS.key_id, KEYS.secret, token)
    S3SigV4QueryAuth(credentials, "s3", "eu-west-1", expires=300).add_auth(request)
    expected = dict(pair.split("=", 1) for pair in request.url.partition("?")[2].split("&"))
    keys = Credentials(KEYS.key_id, KEYS.secret, token)
    address = signed_address(
        method, f"https://s3.example.org:9000{path}", query, keys, "eu-west-1", timedelta(minutes=5), NOW
    )
    found = dict(pair.split("=", 1) for pair in address.partition("?")[2].split("&"))
    assert found == expected


def test_secrets_are_not_shown() -> None:
    keys = Credentials("id", "the secret", "the token")
    assert repr(keys) == "Credentials(key_id='id')"
