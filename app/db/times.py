"""Times of rows, also those that Python cannot represent: another program may have stored any that its database has."""

from datetime import UTC, datetime, timedelta

BEGINNING_OF_TIME = datetime.min.replace(tzinfo=UTC)
END_OF_TIME = datetime.max.replace(tzinfo=UTC)


def nearest(text: str) -> datetime:
    """Return the time of Python's calendar that is nearest to a stored one outside of it, such as `-infinity`."""
    return BEGINNING_OF_TIME if text.startswith("-") or text.endswith("BC") else END_OF_TIME


def in_utc(time: datetime) -> datetime:
    """Convert a time to UTC; a time without a zone is in UTC already."""
    if time.tzinfo is None:
        return time.replace(tzinfo=UTC)
    try:
        return time.astimezone(UTC)
    except OverflowError:
        return BEGINNING_OF_TIME if time.year == 1 else END_OF_TIME


def later(time: datetime, duration: timedelta) -> datetime:
    """Add a duration; the end of time is the latest result."""
    try:
        return time + duration
    except OverflowError:
        return END_OF_TIME
