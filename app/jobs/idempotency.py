"""Idempotency keys: a submission that is repeated with the same key creates no second job.

While a request with a key arrives, it holds the key, a minute at a time. The transaction that adds the job binds the
key to that job and to a fingerprint of the request. Names follow the IETF draft of `Idempotency-Key`.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import structlog
from sqlalchemy import ColumnElement, delete, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import Update

from app.db.transactions import Sessions, current_time, insert_into, rows_changed, transact
from app.http.body import in_turn
from app.jobs.models import IdempotencyKey
from app.jobs.submission.model import Submission
from app.kit.problems import Problem

_log = structlog.get_logger()
_HELD_FOR = timedelta(seconds=60)
_SECONDS_BETWEEN_EXTENSIONS = 15.0
# A quoted string of structured fields, or the same without quotes, as many clients send it.
_HEADER = re.compile(r'"([ !#-\[\]-~]{1,255})"|([!#-\[\]-~]{1,255})')


def parse_key(header: str | None) -> str | None:
    """Parse the header. Raises `Problem` (`invalid-idempotency-key`)."""
    if header is None:
        return None
    found = _HEADER.fullmatch(header.strip())
    if found is None:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "invalid-idempotency-key",
            'The Idempotency-Key must be 1 to 255 printable ASCII characters in quotes, such as "b3c9…"; use a UUID.',
        )
    return found[1] or found[2]


def fingerprint(submission: Submission) -> str:
    """Hash what a submission asks for: equal requests have equal fingerprints."""
    request: dict[str, Any] = {}
    if submission.options is None:
        request["encoding"] = submission.file.sha256
    else:
        request |= {"checkpoint": submission.file.sha256, "options": submission.options.model_dump(mode="json")}
    if submission.dataset is not None:
        # The digest, because another data set may have the name by now.
        request["dataset"] = submission.dataset.sha256
    if submission.name is not None:
        request["name"] = submission.name
    if submission.labels:
        request["labels"] = dict(submission.labels)
    if submission.webhook is not None:
        request["webhook"] = submission.webhook.model_dump(mode="json")
    if submission.deadline is not None:
        request["deadline_seconds"] = submission.deadline.total_seconds()
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class BoundKey:
    """The job that a key is bound to, and the fingerprint of the request that created it."""

    job_id: str
    fingerprint: str


class IdempotencyKeys:
    """Queries of one session on the keys of one tenant."""

    def __init__(self, session: Session, tenant: str) -> None:
        self._session = session
        self._tenant = tenant

    def hold(self, key: str, job_id: str) -> BoundKey | None:
        """Take a new or expired key for the future job, or return the job that it is bound to.

        Raises `Problem` (`request-in-progress`) if another request holds it.
        """
        now = current_time(self._session)
        mine = {"job_id": job_id, "fingerprint": None, "expires_at": now + _HELD_FOR}
        self._session.execute(
            insert_into(self._session, IdempotencyKey)
            .values(tenant=self._tenant, key=key, **mine)
            .on_conflict_do_update(index_elements=["tenant", "key"], set_=mine, where=IdempotencyKey.expires_at <= now)
        )
        found = self._session.get_one(IdempotencyKey, (self._tenant, key))
        if found.job_id == job_id:
            return None
        if found.fingerprint is None:
            raise _in_progress()
        return BoundKey(found.job_id, found.fingerprint)

    def extend(self, key: str, job_id: str) -> None:
        """Extend the hold by a minute."""
        held = self._held(key, job_id).values(expires_at=current_time(self._session) + _HELD_FOR)
        self._session.execute(held)

    def bind(self, key: str, job_id: str, fingerprint: str, keep: timedelta) -> None:
        """Bind the key to its job. Raises `Problem` (`request-in-progress`) if another request has taken it."""
        bound = self._held(key, job_id).values(fingerprint=fingerprint, expires_at=current_time(self._session) + keep)
        if rows_changed(self._session, bound) != 1:
            raise _in_progress()

    def release(self, key: str, job_id: str) -> None:
        """Release the key: its request was refused, and may be sent again when it is corrected."""
        self._session.execute(delete(IdempotencyKey).where(*self._is_held(key, job_id)))

    def _held(self, key: str, job_id: str) -> Update:
        return update(IdempotencyKey).where(*self._is_held(key, job_id))

    def _is_held(self, key: str, job_id: str) -> tuple[ColumnElement[bool], ...]:
        return (
            IdempotencyKey.tenant == self._tenant,
            IdempotencyKey.key == key,
            IdempotencyKey.job_id == job_id,
            IdempotencyKey.fingerprint.is_(None),
        )


class HeldKey:
    """A key that is held by the request that will create the job `job_id`."""

    def __init__(self, sessions: Sessions, tenant: str, key: str, job_id: str) -> None:
        self._sessions = sessions
        self._tenant = tenant
        self._key = key
        self._job_id = job_id

    def take(self) -> BoundKey | None:
        """Take the key, or return the job that it is bound to. Raises `Problem` (`request-in-progress`)."""
        return transact(self._sessions, lambda session: self._keys(session).hold(self._key, self._job_id))

    async def extend_regularly(self) -> None:
        """Extend the hold by a minute, every 15 seconds, until this is canceled."""
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_EXTENSIONS)
            await in_turn(self._quietly, lambda session: self._keys(session).extend(self._key, self._job_id))

    def bind(self, session: Session, fingerprint: str, keep: timedelta) -> None:
        """Bind the key to its job, in the job's own transaction. Raises `Problem` (`request-in-progress`)."""
        self._keys(session).bind(self._key, self._job_id, fingerprint, keep)

    def release(self) -> None:
        """Release the key."""
        self._quietly(lambda session: self._keys(session).release(self._key, self._job_id))

    def _keys(self, session: Session) -> IdempotencyKeys:
        return IdempotencyKeys(session, self._tenant)

    def _quietly(self, work: Callable[[Session], None]) -> None:
        """Only log a failure: it shows when the key is bound, or the row expires."""
        try:
            transact(self._sessions, work)
        except SQLAlchemyError as error:
            _log.warning("idempotency_key_not_updated", error=repr(error))


def expire_keys(session: Session) -> None:
    """Delete expired keys."""
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.expires_at <= current_time(session)))


def key_reused() -> Problem:
    """Return the problem for a key that was used with another request."""
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "idempotency-key-reused",
        "This Idempotency-Key was used before with another file, data set, options, name, labels, webhook or deadline; "
        "use a new key.",
    )


def _in_progress() -> Problem:
    return Problem(
        HTTPStatus.CONFLICT,
        "request-in-progress",
        "A request with this Idempotency-Key is still arriving; repeat yours later to get the answer.",
        headers={"Retry-After": str(int(_HELD_FOR.total_seconds())), "Connection": "close"},
    )
