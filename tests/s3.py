"""A real S3 server as a separate process, and buckets on it."""

import secrets
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from app.settings import Settings
from app.storage.s3.bucket import Bucket
from app.storage.s3.location import Location
from app.storage.s3.store import S3Store
from tests.chaos.proxy import Proxy

SECONDS_TO_START = 60.0


class S3Server:
    """moto's server. Its data is lost when it stops."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        deadline = time.monotonic() + SECONDS_TO_START
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()[-1000:]
            assert time.monotonic() < deadline, f"the S3 server does not start; see {self._log}"
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def make_bucket(self, name: str | None = None) -> str:
        name = name or f"nern-{secrets.token_hex(6)}"
        httpx2.put(f"{self.url}/{name}").raise_for_status()
        return name

    def _answers(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/moto-api/").is_success
        except httpx2.TransportError:
            return False


def bucket_settings(url: str, bucket: str) -> dict[str, Any]:
    """Return the settings for a bucket of the server, with an unused prefix."""
    return {
        "artifact_store": f"s3://{bucket}/nern/test",
        "s3_endpoint": url,
        "s3_access_key_id": "AKIDEXAMPLE",
        "s3_secret_access_key": "wJalrXUtnFEMI",
    }


@dataclass
class FaultyBucket:
    """A bucket behind a proxy with faults on demand."""

    settings: Settings
    proxy: Proxy


def store_of(settings: Settings, bucket: Bucket | None = None) -> S3Store:
    """Return the store in the settings, optionally on a bucket with other behaviour."""
    location = Location.of(settings)
    return S3Store(bucket or Bucket(location), location, settings.artifacts, settings.redirect_lifetime)


def bucket_of(settings: Settings) -> Bucket:
    """Return the bucket itself, for inspection and manipulation."""
    return Bucket(Location.of(settings))


def keys_of(settings: Settings, folder: str) -> list[str]:
    """Return the keys below a folder of the bucket, without the folder's name."""
    pages = bucket_of(settings).list(folder)
    return sorted(found.key.removeprefix(f"{folder}/") for page in pages for found in page)
