"""Signed URLs for one request and a limited time: AWS Signature Version 4 in the query.

obstore signs URLs too, but does not support additional query parameters, which are needed for the headers of downloads,
and to list and abort multipart uploads.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

from app.storage.s3.location import Credentials

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNRESERVED = "-_.~"


def signed_address(
    method: str,
    address: str,
    query: Mapping[str, str],
    credentials: Credentials,
    region: str,
    lifetime: timedelta,
    now: datetime | None = None,
) -> str:
    """Return a URL that allows everyone who has it to send this request, until `lifetime` is over."""
    url = urlsplit(address)
    path = quote(url.path, safe=f"/{_UNRESERVED}") or "/"
    stamp = f"{now or datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    signed = {
        **query,
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{credentials.key_id}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(int(lifetime.total_seconds())),
        "X-Amz-SignedHeaders": "host",
    }
    if credentials.token is not None:
        signed["X-Amz-Security-Token"] = credentials.token
    pairs = sorted((_escaped(name), _escaped(value)) for name, value in signed.items())
    text = "&".join(f"{name}={value}" for name, value in pairs)
    request = "\n".join([method, path, text, f"host:{url.netloc}\n", "host", "UNSIGNED-PAYLOAD"])
    to_sign = "\n".join([_ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return f"{url.scheme}://{url.netloc}{path}?{text}&X-Amz-Signature={signature}"


def _escaped(text: str) -> str:
    return quote(text, safe=_UNRESERVED)
