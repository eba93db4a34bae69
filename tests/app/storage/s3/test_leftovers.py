"""Multipart uploads left by a killed process."""

import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import httpx2

from app.settings import Settings
from app.storage.s3.leftovers import UnfinishedPage, UnfinishedUpload, UnfinishedUploads
from app.storage.s3.location import Location
from tests.conftest import ROOT
from tests.processes import environment
from tests.s3 import keys_of, store_of

KILLED = """
import os, signal
from app.settings import Settings
from app.storage.s3.bucket import Bucket
from app.storage.s3.location import Location

def parts():
    yield bytes(8 * 2**20)
    yield bytes(8 * 2**20)
    yield bytes(8 * 2**20)
    yield bytes(8 * 2**20)
    os.kill(os.getpid(), signal.SIGKILL)

Bucket(Location.of(Settings())).upload("artifacts/" + "0" * 64, parts, 8 * 2**20)
"""
# From the documentation of S3, shortened.
PAGE = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
  <Bucket>bucket</Bucket><KeyMarker></KeyMarker><UploadIdMarker></UploadIdMarker>
  <NextKeyMarker>my-movie.m2ts</NextKeyMarker>
  <NextUploadIdMarker>YW55IGlkZWEgd2h5IGVsdmluZydzIHVwbG9hZCBmYWlsZWQ</NextUploadIdMarker>
  <MaxUploads>1</MaxUploads><IsTruncated>true</IsTruncated>
  <Upload>
    <Key>my-divisor</Key><UploadId>XMgbGlrZSBlbHZpbmcncyBub3QgaGF2aW5nIG11Y2ggbHVjaw</UploadId>
    <StorageClass>STANDARD</StorageClass><Initiated>2010-11-10T20:48:33.000Z</Initiated>
  </Upload>
</ListMultipartUploadsResult>"""


def unfinished(settings: Settings) -> list[str]:
    """Return the keys of unfinished multipart uploads."""
    location = Location.of(settings)
    answer = httpx2.get(f"{location.endpoint}/{location.bucket}?uploads").raise_for_status()
    return [upload.key for upload in UnfinishedPage.parse(answer.content).uploads]


def begin(settings: Settings, key: str) -> None:
    location = Location.of(settings)
    httpx2.post(f"{location.endpoint}/{location.bucket}/{key}?uploads").raise_for_status()


def test_what_a_killed_process_has_left_is_invisible_and_is_ended(with_bucket: Settings) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, env=environment(with_bucket), check=False)
    assert ended.returncode == -signal.SIGKILL
    assert unfinished(with_bucket) == [f"nern/test/artifacts/{'0' * 64}"]
    assert keys_of(with_bucket, "artifacts") == []
    assert store_of(with_bucket).remove_abandoned(timedelta(hours=1)) == 1
    assert unfinished(with_bucket) == []


def test_only_old_ones_below_the_prefix_are_ended(with_bucket: Settings) -> None:
    begin(with_bucket, "nern/test/artifacts/mine")
    begin(with_bucket, "nern/testing/artifacts/others")
    location = Location.of(with_bucket)
    assert location.credentials is not None
    uploads = UnfinishedUploads(location, location.credentials)
    # This server reports the same date for all.
    assert uploads.end_older(datetime(2010, 1, 1, tzinfo=UTC).timestamp()) == 0
    assert uploads.end_older(time.time()) == 1
    assert unfinished(with_bucket) == ["nern/testing/artifacts/others"]


def test_a_page_tells_what_there_is_and_where_more_is() -> None:
    page = UnfinishedPage.parse(PAGE)
    begun = datetime(2010, 11, 10, 20, 48, 33, tzinfo=UTC)
    upload_id = "XMgbGlrZSBlbHZpbmcncyBub3QgaGF2aW5nIG11Y2ggbHVjaw"
    assert page.uploads == [UnfinishedUpload("my-divisor", upload_id, begun)]
    assert page.rest == {
        "key-marker": "my-movie.m2ts",
        "upload-id-marker": "YW55IGlkZWEgd2h5IGVsdmluZydzIHVwbG9hZCBmYWlsZWQ",
    }
    assert UnfinishedPage.parse(PAGE.replace(b"true", b"false")).rest is None
