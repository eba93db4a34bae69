from datetime import timedelta

from app.kit.backoff import Backoff

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def test_each_pause_is_twice_the_one_before() -> None:
    backoff = Backoff(first=SECOND, longest=MINUTE)
    assert [backoff.pause(earlier) for earlier in range(4)] == [SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND]


def test_pauses_grow_by_another_factor() -> None:
    backoff = Backoff(first=SECOND, longest=MINUTE, factor=5)
    assert [backoff.pause(earlier) for earlier in range(3)] == [SECOND, 5 * SECOND, 25 * SECOND]


def test_no_pause_is_longer_than_the_longest_however_many_there_were() -> None:
    backoff = Backoff(first=SECOND, longest=MINUTE, factor=5)
    assert backoff.pause(3) == backoff.pause(10**9) == MINUTE


def test_jitter_varies_a_pause_both_ways() -> None:
    backoff = Backoff(first=MINUTE, longest=MINUTE, jitter=0.2)
    pauses = [backoff.pause(0) / MINUTE for _ in range(1000)]
    assert 0.8 <= min(pauses) < 0.9
    assert 1.1 < max(pauses) <= 1.2
