"""Courier: delivers webhooks, with retries until the receivers have accepted them.

Every API process has a courier, because workers may not reach the internet. Its thread starts due deliveries in other
threads and does not wait for them. Each tenant has a share of these threads, so a receiver that never answers delays
only its own tenant. A courier holds a delivery for a minute. If it dies, another one takes over, so an event may arrive
twice, with the same `webhook-id`.
"""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import structlog
from sqlalchemy.orm import Session

from app.db.transactions import Sessions, transact
from app.jobs.deliveries.repository import DeliveryRepository, Due
from app.jobs.repository import JobRepository
from app.jobs.schemas import JobView
from app.kit.backoff import Backoff
from app.kit.fair_shares import FairShares
from app.outbound.client import OutboundClient
from app.outbound.errors import OutboundError
from app.settings import Settings
from app.webhooks.repository import SecretRepository
from app.webhooks.signing import sign

_log = structlog.get_logger()
_AT_ONCE = 16
_SECONDS_FOR_ANSWER = 10.0
_HOLD = timedelta(minutes=1)
_SECONDS_TO_STOP = 15.0
MOST_ATTEMPTS = 8
_LONGEST_PAUSE = timedelta(days=1)
_BACKOFF = Backoff(first=timedelta(seconds=5), longest=_LONGEST_PAUSE, factor=5, jitter=0.2)
_GONE = 410


@dataclass(frozen=True, slots=True)
class _Message:
    """A request: its address, its body and the secrets that sign it."""

    url: str
    body: bytes
    secrets: list[str]


@dataclass(frozen=True, slots=True)
class _Response:
    """Result of an attempt: a status, or the error. `retry_after` is the pause that the receiver requests."""

    status_code: int | None
    error: str | None
    milliseconds: int
    retry_after: timedelta = timedelta()

    @property
    def delivered(self) -> bool:
        """True if the receiver has accepted it."""
        return self.status_code is not None and self.status_code // 100 == 2

    def logged(self) -> Mapping[str, Any]:
        """Return the entry for the delivery's log."""
        return {"status_code": self.status_code, "error": self.error, "milliseconds": self.milliseconds}


class Courier:
    """A background thread."""

    def __init__(self, settings: Settings, sessions: Sessions, client: OutboundClient) -> None:
        self._settings = settings
        self._sessions = sessions
        self._client = client
        self._shares = FairShares(_AT_ONCE, reserving=settings.keys_required)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="courier")
        self._begun: list[Future[None]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait up to 15 seconds each for the thread and for active deliveries."""
        self._stopping.set()
        self._thread.join(_SECONDS_TO_STOP)
        self._threads.shutdown(wait=False, cancel_futures=True)
        wait(self._begun, _SECONDS_TO_STOP)

    def round(self) -> int:
        """Try all due deliveries and wait for them; return their number."""
        begun = self.begin_due()
        wait(begun)
        return len(begun)

    def begin_due(self) -> Sequence[Future[None]]:
        """Start the due deliveries, as far as their tenants have free threads."""
        self._begun = [future for future in self._begun if not future.done()]
        taken = transact(
            self._sessions, lambda session: DeliveryRepository(session).take(_AT_ONCE, _HOLD, self._shares)
        )
        # Only this thread takes shares, so those of the plan are still free.
        begun = [self._threads.submit(self._attempt, due) for due in taken if self._shares.take(due.tenant)]
        self._begun += begun
        return begun

    def _attempt(self, due: Due) -> None:
        """Deliver one, and log failures."""
        try:
            self._deliver(due)
        except Exception as error:  # noqa: BLE001 # it stays due, and the others must be delivered
            _log.warning("delivery_failed", delivery=due.id, job=due.job_id, error=repr(error))
        finally:
            self._shares.release(due.tenant)

    def _deliver(self, due: Due) -> None:
        message = transact(self._sessions, lambda session: self._message(session, due))
        if message is None:
            return
        response = self._send(due, message)
        pause = None if response.delivered else pause_after(due.attempts + 1, response.status_code)
        if pause is not None:
            pause = max(pause, response.retry_after)

        def work(session: Session) -> bool:
            return DeliveryRepository(session).settle(due, response.logged(), delivered=response.delivered, pause=pause)

        transact(self._sessions, work)
        _log.info("webhook_sent", delivery=due.id, job=due.job_id, **response.logged())

    def _message(self, session: Session, due: Due) -> _Message | None:
        """Build the request; return None if the job was deleted."""
        job = JobRepository(session).get(due.job_id, due.tenant)
        if job is None or job.webhook is None or "url" not in job.webhook:
            return None
        view = JobView.of(job, self._settings.keep_results)
        content = {"type": due.event, "timestamp": due.created_at.isoformat(), "data": view.model_dump(mode="json")}
        secrets = SecretRepository(session).signing_secrets(due.tenant)
        return _Message(job.webhook["url"], json.dumps(content, separators=(",", ":")).encode(), secrets)

    def _send(self, due: Due, message: _Message) -> _Response:
        timestamp, start = int(time.time()), time.perf_counter()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"nern/{version('nern')}",
            "webhook-id": due.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(message.secrets, due.id, timestamp, message.body),
        }

        def milliseconds() -> int:
            return round(1000 * (time.perf_counter() - start))

        try:
            with self._client.send(
                "POST", message.url, headers=headers, body=message.body, seconds=_SECONDS_FOR_ANSWER, tenant=due.tenant
            ) as answer:
                retry_after = answer.headers.get("Retry-After", "")
                return _Response(answer.status, None, milliseconds(), _seconds(retry_after))
        except OutboundError as error:
            return _Response(None, str(error), milliseconds())
        except Exception:  # noqa: BLE001 # logged with its traceback
            # A delivery that counts no attempt would be repeated for ever.
            _log.exception("delivery_not_sent", delivery=due.id, job=due.job_id)
            return _Response(None, "The request could not be sent.", milliseconds())

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.begin_due()
            except Exception as error:  # noqa: BLE001 # the thread must outlive every outage of the database
                _log.warning("courier_failed", error=repr(error))
            self._stopping.wait(self._settings.relay_interval.total_seconds())


def pause_after(attempts: int, status_code: int | None) -> timedelta | None:
    """Compute the pause after an attempt: five times longer each time, ± 20 %. None: give up.

    The last attempt is about a day after the first. A receiver that answers 410 gets no more attempts.
    """
    if attempts >= MOST_ATTEMPTS or status_code == _GONE:
        return None
    return _BACKOFF.pause(attempts - 1)


def _seconds(retry_after: str) -> timedelta:
    """Parse Retry-After, limited to a day; zero for a date."""
    if not (retry_after.isascii() and retry_after.isdecimal()):
        return timedelta()
    return min(_LONGEST_PAUSE, timedelta(seconds=int(retry_after[:9])))
