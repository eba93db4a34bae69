import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import insert
from starlette.testclient import TestClient

from app.access.service import ApiKeyService
from app.accounting.quotas import BYTES_OF_A_JOB, MOST_DELIVERIES, Quotas, Usage
from app.db.transactions import current_time
from app.jobs.accounts import ACCOUNTS
from app.jobs.deliveries.models import WebhookDelivery
from app.kit.problems import Problem
from app.settings import Settings
from nern_core.formats.checkpoint_structure import read_structure
from tests.app.conftest import serving, stored_files, submit
from tests.app.routes.test_authentication import BOTH, bearer
from tests.app.test_jobs_api import finish
from tests.conftest import EXAMPLE, transaction
from tests.dataset_files import safetensors_file

pytestmark = pytest.mark.both_modes

SIZE = EXAMPLE.stat().st_size
# Expected size of the results of a job on the example: three times its weights, plus documents.
RESULTS = 3 * read_structure(EXAMPLE).logical_bytes + 2**20
JOB = BYTES_OF_A_JOB + SIZE


@contextmanager
def tenant(settings: Settings, keys: ApiKeyService, **quotas: int) -> Iterator[TestClient]:
    """A client of a tenant, with quotas."""
    with serving(settings.model_copy(update=quotas)) as client:
        client.headers.update(bearer(keys.create("acme", BOTH).reveal()))
        yield client


def usage(settings: Settings) -> Usage:
    with transaction(settings) as session:
        return ACCOUNTS.usage(session, "acme")


def test_a_tenant_has_no_more_jobs_at_once_than_it_may(with_keys: Settings, keys: ApiKeyService) -> None:
    with tenant(with_keys, keys, max_active_jobs=2) as client:
        first, second, third = [submit(client) for _ in range(3)]
        assert [first.status_code, second.status_code, third.status_code] == [202, 202, 429]
        assert third.json()["type"] == "too-many-jobs"
        assert "You have 2 jobs queued or running, and the limit is 2" in third.json()["detail"]
        assert third.headers["Retry-After"] == "60"
        client.post(first.json()["links"]["cancel"])
        assert submit(client).status_code == 202


def test_a_tenant_whose_webhooks_pile_up_submits_no_more_jobs_with_one(
    with_keys: Settings, keys: ApiKeyService
) -> None:
    networks = {"outbound_networks": (ip_network("127.0.0.0/8"),)}
    with tenant(with_keys.model_copy(update=networks), keys) as client:
        assert submit_with_webhook(client).status_code == 202
        add_deliveries(with_keys, "rival", MOST_DELIVERIES)
        add_deliveries(with_keys, "acme", MOST_DELIVERIES - 1)
        assert submit_with_webhook(client).status_code == 202
        add_deliveries(with_keys, "acme", 1)
        refused = submit_with_webhook(client)
        assert (refused.status_code, refused.json()["type"]) == (429, "too-many-deliveries")
        assert submit(client).status_code == 202


def submit_with_webhook(client: TestClient) -> httpx2.Response:
    webhook = json.dumps({"url": "http://127.0.0.1:9/"})
    return client.post("/jobs", files={"checkpoint": EXAMPLE.read_bytes()}, data={"webhook": webhook})


def add_deliveries(settings: Settings, tenant: str, number: int) -> None:
    """Add deliveries that are due in a day."""
    columns: dict[str, Any] = {"tenant": tenant, "job_id": "job_1", "event": "job.canceled", "log": []}
    with transaction(settings) as session:
        now = current_time(session)
        columns |= {"attempts": 1, "created_at": now, "due_at": now + timedelta(days=1)}
        session.execute(insert(WebhookDelivery), [columns | {"id": f"msg_{uuid4().hex}"} for _ in range(number)])


def test_the_jobs_of_others_do_not_count(with_keys: Settings, keys: ApiKeyService) -> None:
    with tenant(with_keys, keys, max_active_jobs=1) as client:
        assert submit(client).status_code == 202
        client.headers.update(bearer(keys.create("rival", BOTH).reveal()))
        assert submit(client).status_code == 202


def test_however_many_come_at_once_the_quota_holds(with_keys: Settings, keys: ApiKeyService) -> None:
    with tenant(with_keys, keys, max_active_jobs=3) as client, ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(lambda _: submit(client).status_code, range(8)))
    assert sorted(statuses) == [202] * 3 + [429] * 5
    assert usage(with_keys).active_jobs == 3


def test_a_tenant_stores_no_more_bytes_than_it_may(with_keys: Settings, keys: ApiKeyService) -> None:
    with tenant(with_keys, keys, max_stored_bytes=2 * (JOB + RESULTS)) as client:
        answers = [submit(client) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[2].json()["type"] == "storage-full"
    assert f"take {2 * (JOB + RESULTS):,} bytes" in answers[2].json()["detail"]


def test_results_count_too(with_keys: Settings, keys: ApiKeyService, tmp_path: Path) -> None:
    with tenant(with_keys, keys) as client:
        job_id = submit(client).json()["id"]
    assert usage(with_keys) == Usage(1, JOB + RESULTS)
    results = finish(with_keys, job_id, tmp_path)
    assert usage(with_keys) == Usage(0, JOB + sum(map(len, results.values())))


def test_a_tenant_that_is_full_sends_nothing_in_vain(with_keys: Settings, keys: ApiKeyService) -> None:
    with tenant(with_keys, keys, max_active_jobs=1) as client:
        submit(client)
        before = stored_files(with_keys)
        answer = submit(client, checkpoint=b"x" * 1_000_000)
    assert (answer.status_code, answer.headers["Connection"]) == (429, "close")
    assert stored_files(with_keys) == before


def test_what_is_exactly_full_is_not_too_full() -> None:
    quotas = Quotas(active_jobs=2, stored_bytes=100)
    quotas.refuse(Usage(1, 60), 40)
    with pytest.raises(Problem):
        quotas.refuse(Usage(1, 60), 41)
    with pytest.raises(Problem):
        quotas.refuse(Usage(2, 0))


def test_without_keys_there_are_no_quotas(embedded: Settings) -> None:
    with serving(embedded.model_copy(update={"max_active_jobs": 1, "max_stored_bytes": 1})) as client:
        assert [submit(client).status_code for _ in range(2)] == [202, 202]


def test_jobs_count_by_what_they_take_in_the_database_until_they_are_deleted(
    with_keys: Settings, keys: ApiKeyService
) -> None:
    with tenant(with_keys, keys) as client:
        sha256 = client.post("/checkpoints", content=EXAMPLE.read_bytes()).json()["sha256"]
        for _ in range(3):
            job = client.post("/jobs", json={"checkpoint": {"sha256": sha256}}).json()
            client.post(job["links"]["cancel"])
        assert usage(with_keys) == Usage(0, SIZE + 3 * JOB)
        client.delete(job["links"]["self"])
        assert usage(with_keys) == Usage(0, SIZE + 2 * JOB)


def test_the_smallest_upload_counts_as_what_it_takes_on_the_disk(with_keys: Settings, keys: ApiKeyService) -> None:
    with tenant(with_keys, keys) as client:
        client.post("/checkpoints", content=safetensors_file({"weight": ("F32", (2, 2, 1, 1))}))
    assert usage(with_keys) == Usage(0, 4096)
