"""Location and credentials of a bucket, from the settings and the usual environment variables for S3."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Self
from urllib.parse import urlsplit

from pydantic import AnyHttpUrl, TypeAdapter, ValidationError

from app.settings import Downloads, Settings
from nern_core.contract.errors import NernError

_ADDRESS = TypeAdapter(AnyHttpUrl)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys that sign requests."""

    key_id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Location:
    """A bucket and the prefix of all keys in it. Without credentials, the machine's role is used."""

    bucket: str
    prefix: str
    region: str
    endpoint: str
    public_endpoint: str
    credentials: Credentials | None
    redirects: bool

    @classmethod
    def of(cls, settings: Settings, environment: Mapping[str, str] = os.environ) -> Self:
        """Combine the settings with the environment; settings take precedence.

        Raises `NernError` (`storage_settings`) for settings that are unsafe or cannot work.
        """
        bucket, _, prefix = settings.artifact_store.removeprefix("s3://").partition("/")
        region = settings.s3_region or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
        region = region or "us-east-1"
        named = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
        endpoint = _origin(settings.s3_endpoint or named or f"https://s3.{region}.amazonaws.com", settings)
        public = endpoint if settings.s3_public_endpoint is None else _origin(settings.s3_public_endpoint, settings)
        credentials = _credentials(settings, environment)
        redirects = settings.downloads is Downloads.REDIRECTED
        if redirects and credentials is None:
            raise _refused(
                "NERN_DOWNLOADS=redirected needs keys to sign URLs, and a role has no keys: set "
                "NERN_S3_ACCESS_KEY_ID and NERN_S3_SECRET_ACCESS_KEY, or leave downloads proxied."
            )
        return cls(bucket, prefix.strip("/"), region, endpoint, public, credentials, redirects)

    def key(self, name: str) -> str:
        """Return the key of an object below the prefix."""
        return f"{self.prefix}/{name}" if self.prefix else name


def _credentials(settings: Settings, environment: Mapping[str, str]) -> Credentials | None:
    """Return the keys of the settings, or else those of the environment, never a mixture."""
    if settings.s3_secret_access_key is not None:
        return Credentials(settings.s3_access_key_id, settings.s3_secret_access_key.get_secret_value())
    key_id, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if bool(key_id) != bool(secret):
        raise _refused("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together: set both or neither.")
    if not key_id or not secret:
        return None
    return Credentials(key_id, secret, environment.get("AWS_SESSION_TOKEN") or None)


def _origin(address: AnyHttpUrl | str, settings: Settings) -> str:
    """Return scheme, host and port as they are signed. Raises `NernError` for a URL without TLS or with other parts."""
    try:
        url = urlsplit(str(_ADDRESS.validate_python(address)))
    except ValidationError as error:
        raise _refused("The address of the S3 store must start with https:// or http://.") from error
    if url.username or url.password or url.path not in {"", "/"} or url.query or url.fragment:
        raise _refused(
            "The address of the S3 store must be only scheme, host and port, such as https://s3.example.org."
        )
    if url.scheme == "http" and not settings.s3_allow_http and not _is_here(url.hostname or ""):
        raise _refused(
            f"Files would be sent to {url.netloc} unencrypted: use https, or set NERN_S3_ALLOW_HTTP=true on a network "
            "that you trust."
        )
    return f"{url.scheme}://{url.netloc}"


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refused(sentence: str) -> NernError:
    return NernError("storage_settings", sentence)
