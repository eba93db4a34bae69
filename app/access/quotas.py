"""What a tenant may have at once. Quotas are counted in the database, in the transaction that queues a job."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from app.problems import Problem
from app.settings import Settings

_SECONDS_UNTIL_A_JOB_MAY_HAVE_ENDED = "60"
_SECONDS_UNTIL_FILES_ARE_REMOVED = "600"


# What a job takes in the database: options, labels, events, deliveries and their indexes.
BYTES_OF_A_JOB = 32 * 2**10
# Webhooks of a tenant that are still to be delivered. Each round of the courier goes through all of them.
MOST_DELIVERIES = 10_000
# What the smallest file takes on a disk.
SMALLEST_FILE = 4096


def refuse_deliveries(pending: int) -> None:
    """Refuse another job with a webhook. Raises `Problem` (`too-many-deliveries`)."""
    if pending >= MOST_DELIVERIES:
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            "too-many-deliveries",
            f"{MOST_DELIVERIES:,} of your webhooks are still to be delivered; see whether their receivers answer, and "
            "submit this job without a webhook or later.",
            headers={"Retry-After": _SECONDS_UNTIL_A_JOB_MAY_HAVE_ENDED},
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tenant has: jobs that have not ended, and the bytes that count for it.

    Those are its checkpoints, results, uploads and data sets, what arrives, what its jobs are expected to leave, and
    what each job takes in the database until it is deleted. `discarded_bytes` of them are of files that it has given
    up and that are still to be removed.
    """

    active_jobs: int
    stored_bytes: int
    discarded_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Quotas:
    """The limits of every tenant; 0 is none."""

    active_jobs: int = 0
    stored_bytes: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The quotas that the settings say. Where there are no keys there is one user, who needs none."""
        if not settings.keys_required:
            return cls()
        return cls(settings.max_active_jobs, settings.max_stored_bytes)

    @property
    def limited(self) -> bool:
        """Whether there is anything to count."""
        return bool(self.active_jobs or self.stored_bytes)

    def refuse(self, usage: Usage, more_bytes: int = 0) -> None:
        """Refuse another job, whose checkpoint has `more_bytes`. Raises `Problem` (`too-many-jobs`, `storage-full`)."""
        if self.active_jobs and usage.active_jobs >= self.active_jobs:
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too-many-jobs",
                f"You have {usage.active_jobs:,} jobs queued or running, and may have {self.active_jobs:,}; submit "
                "this one when another has ended.",
                headers={"Retry-After": _SECONDS_UNTIL_A_JOB_MAY_HAVE_ENDED},
            )
        self.refuse_bytes(usage, more_bytes)

    def refuse_bytes(self, usage: Usage, more_bytes: int = 0) -> None:
        """Refuse a file of so many bytes. Raises `Problem` (`storage-full`)."""
        if self.stored_bytes and usage.stored_bytes + more_bytes > self.stored_bytes:
            going = f" {usage.discarded_bytes:,} bytes are about to be removed." if usage.discarded_bytes else ""
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "storage-full",
                f"Your checkpoints, data sets and results take {usage.stored_bytes:,} bytes, and with this file would "
                f"take more than the {self.stored_bytes:,} that you may have; send it when there is room again.{going}",
                headers={"Retry-After": _SECONDS_UNTIL_FILES_ARE_REMOVED, "Connection": "close"},
            )
