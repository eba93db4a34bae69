"""Requests that are retried, and those that are not."""

import threading
from datetime import timedelta

import pytest
from obstore.exceptions import GenericError
from obstore.store import S3Store

from app.settings import Settings
from app.storage import StoreUnavailable
from app.storage.s3 import bucket as bucket_module
from app.storage.s3.location import Location
from app.storage.s3.requests import CARRYING, Requests, TimeLimits
from tests.s3 import FaultyBucket, bucket_of, keys_of

# The message of obstore.
LOST = 'Generic S3 error: Error performing POST\n\nhyper::Error(Canceled, "connection was not ready")'


class Unlucky:
    """A request whose first `times` attempts lose the connection before it is sent."""

    def __init__(self, times: int) -> None:
        self.times, self.sent = times, 0

    def __call__(self, client: S3Store) -> str:
        self.sent += 1
        if self.sent <= self.times:
            raise GenericError(LOST)
        return "done"


def test_what_was_lost_before_it_was_sent_is_sent_again(with_bucket: Settings) -> None:
    request = Unlucky(2)
    assert Requests(Location.of(with_bucket), CARRYING).send(request) == "done"
    assert request.sent == 3


def test_but_not_for_ever(with_bucket: Settings) -> None:
    request = Unlucky(1000)
    impatient = TimeLimits(timedelta(seconds=1), timedelta(seconds=0.25))
    with pytest.raises(StoreUnavailable, match=r"^Generic S3 error: Error performing POST$"):
        Requests(Location.of(with_bucket), impatient).send(request)
    assert 2 <= request.sent <= 4


def test_what_the_store_refuses_is_not_sent_again(with_bucket: Settings) -> None:
    sent = []

    def request(client: S3Store) -> None:
        sent.append(client)
        raise GenericError("403 Forbidden")

    with pytest.raises(StoreUnavailable, match="403 Forbidden"):
        Requests(Location.of(with_bucket), CARRYING).send(request)
    assert len(sent) == 1


def test_outages_between_the_pages_of_a_list_leave_nothing_out(
    faulty: FaultyBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "_OBJECTS_ON_A_PAGE", 2)
    bucket = bucket_of(faulty.settings)
    for key in ("a/1", "a/2", "a/3", "a/4", "ab/5"):
        bucket.put(key, b"")
    found = []
    for page in bucket.list("a"):
        found += [item.key for item in page]
        faulty.proxy.go_down()
        threading.Timer(0.3, faulty.proxy.heal).start()
    assert found == ["a/1", "a/2", "a/3", "a/4"]
    assert keys_of(faulty.settings, "a") == ["1", "2", "3", "4"]
