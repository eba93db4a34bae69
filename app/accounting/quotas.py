"""Quotas of a tenant, counted in the database, in the transaction that queues a job."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from app.kit.problems import Problem
from app.settings import Settings

_SECONDS_UNTIL_A_JOB_MAY_HAVE_ENDED = "60"
_SECONDS_UNTIL_FILES_ARE_REMOVED = "600"


# Estimated size of a job in the database: options, labels, events, deliveries and their indexes.
BYTES_OF_A_JOB = 32 * 2**10
# Limit of a tenant's pending webhook deliveries. Each round of the courier scans all of them.
MOST_DELIVERIES = 10_000
# Disk space of the smallest file.
SMALLEST_FILE = 4096


def refuse_deliveries(pending: int) -> None:
    """Refuse another job with a webhook. Raises `Problem` (`too-many-deliveries`)."""
    if pending >= MOST_DELIVERIES:
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            "too-many-deliveries",
            f"{MOST_DELIVERIES:,} of your webhooks are not yet delivered; check whether their receivers answer, and "
            "submit this job without a webhook or later.",
            headers={"Retry-After": _SECONDS_UNTIL_A_JOB_MAY_HAVE_ENDED},
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """A tenant's usage: jobs that have not ended, and counted bytes.

    Counted are checkpoints, results, uploads and data sets, files that are arriving, expected results, and the size of
    each job in the database until it is deleted. `discarded_bytes` of them belong to files that are no longer needed
    but not yet removed.
    """

    active_jobs: int
    stored_bytes: int
    discarded_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Quotas:
    """Limits of each tenant; 0 means unlimited."""

    active_jobs: int = 0
    stored_bytes: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the quotas of the settings. Without keys there is a single user, without limits."""
        if not settings.keys_required:
            return cls()
        return cls(settings.max_active_jobs, settings.max_stored_bytes)

    @property
    def limited(self) -> bool:
        """True if there is any limit."""
        return bool(self.active_jobs or self.stored_bytes)

    def refuse(self, usage: Usage, more_bytes: int = 0) -> None:
        """Refuse another job, of `more_bytes`, over a limit. Raises `Problem` (`too-many-jobs`, `storage-full`)."""
        if self.active_jobs and usage.active_jobs >= self.active_jobs:
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too-many-jobs",
                f"You have {usage.active_jobs:,} jobs queued or running, and the limit is {self.active_jobs:,}; submit "
                "this one when another has ended.",
                headers={"Retry-After": _SECONDS_UNTIL_A_JOB_MAY_HAVE_ENDED},
            )
        self.refuse_bytes(usage, more_bytes)

    def refuse_bytes(self, usage: Usage, more_bytes: int = 0) -> None:
        """Refuse a file of `more_bytes` if it exceeds the quota. Raises `Problem` (`storage-full`)."""
        if self.stored_bytes and usage.stored_bytes + more_bytes > self.stored_bytes:
            going = f" {usage.discarded_bytes:,} bytes will be removed soon." if usage.discarded_bytes else ""
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "storage-full",
                f"Your checkpoints, data sets and results take {usage.stored_bytes:,} bytes; this file would exceed "
                f"the limit of {self.stored_bytes:,}. Delete jobs or data sets, or send it later.{going}",
                headers={"Retry-After": _SECONDS_UNTIL_FILES_ARE_REMOVED, "Connection": "close"},
            )
