import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from app.access.caller import Scope
from app.access.service import ApiKeyService
from app.db.engine import create_sessions
from app.jobs.deliveries.courier import MOST_ATTEMPTS, Courier, pause_after
from app.jobs.deliveries.models import WebhookDelivery
from app.outbound.client import OutboundClient
from app.settings import Settings
from app.webhooks.signing import new_secret, sign
from tests.app.conftest import serving, stored_files, submit
from tests.app.jobs.deliveries.receiver import Receiver, receiving
from tests.app.test_jobs_api import finish
from tests.conftest import EXAMPLE, transaction

LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def reaching(settings: Settings) -> Settings:
    """Settings of both modes that allow webhooks to loopback, and whose own courier is slow."""
    return settings.model_copy(update={"outbound_networks": LOOPBACK, "relay_interval": timedelta(hours=1)})


@pytest.fixture
def client(reaching: Settings) -> Iterator[TestClient]:
    with serving(reaching) as client:
        yield client


@pytest.fixture
def courier(reaching: Settings, client: TestClient) -> Iterator[Courier]:
    """A courier that delivers only on request."""
    sessions = create_sessions(reaching)
    yield Courier(reaching, sessions, OutboundClient(LOOPBACK))
    sessions.kw["bind"].dispose()


def submit_with(client: TestClient, webhook: Any, **more: Any) -> Any:
    files = {"checkpoint": EXAMPLE.read_bytes()}
    return client.post("/jobs", files=files, data={"webhook": json.dumps(webhook)}, **more)


def canceled(client: TestClient, receiver: Receiver, **webhook: Any) -> str:
    job_id: str = submit_with(client, {"url": receiver.url, **webhook}).json()["id"]
    assert client.post(f"/jobs/{job_id}/cancel").status_code == 202
    return job_id


def deliveries(client: TestClient, job_id: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get(f"/jobs/{job_id}/deliveries").json()["items"]
    return items


def make_due(settings: Settings) -> None:
    """End the pause."""
    with transaction(settings) as session:
        session.execute(
            update(WebhookDelivery)
            .where(WebhookDelivery.due_at.is_not(None))
            .values(due_at=datetime.now(UTC) - timedelta(hours=1))
        )


def test_the_end_of_a_job_is_delivered_with_what_the_job_is_then(
    client: TestClient, courier: Courier, receiver: Receiver, settings: Settings, tmp_path: Path
) -> None:
    job_id = submit_with(client, {"url": receiver.url}).json()["id"]
    assert courier.round() == 0
    finish(settings, job_id, tmp_path)
    assert courier.round() == 1
    (request,) = receiver.received
    body = json.loads(request.body)
    assert (body["type"], body["data"]) == ("job.succeeded", client.get(f"/jobs/{job_id}").json())
    assert request.headers["content-type"] == "application/json"
    assert courier.round() == 0


def test_a_delivery_is_signed_as_standard_webhooks_says(
    client: TestClient, courier: Courier, receiver: Receiver
) -> None:
    canceled(client, receiver)
    courier.round()
    (request,) = receiver.received
    secret = base64.b64decode(client.get("/webhooks/secret").json()["secret"].removeprefix("whsec_"))
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 60


def test_the_signature_is_that_of_the_published_example() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    found = sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_after_a_rotation_both_secrets_sign(client: TestClient, courier: Courier, receiver: Receiver) -> None:
    old = client.get("/webhooks/secret").json()
    new = client.post("/webhooks/secret/rotate").json()
    assert (old["previous_until"], client.get("/webhooks/secret").json()) == (None, new)
    assert new["secret"] != old["secret"]
    canceled(client, receiver)
    courier.round()
    headers, body = receiver.received[0].headers, receiver.received[0].body
    secrets = [new["secret"], old["secret"]]
    expected = sign(secrets, headers["webhook-id"], int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == expected
    assert len(expected.split()) == 2


def test_what_is_not_taken_is_tried_again_under_the_same_id(
    client: TestClient, courier: Courier, receiver: Receiver, settings: Settings
) -> None:
    job_id = canceled(client, receiver)
    receiver.answers = [(500, {}), (302, {"Location": receiver.url})]
    for _ in range(3):
        assert courier.round() == 1
        assert courier.round() == 0
        make_due(settings)
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 1
    assert len({request.body for request in receiver.received}) == 1
    (delivery,) = deliveries(client, job_id)
    assert [attempt["status_code"] for attempt in delivery["attempts"]] == [500, 302, 204]
    assert (delivery["status"], delivery["next_attempt_at"]) == ("delivered", None)
    assert delivery["id"] == receiver.received[0].headers["webhook-id"]


def test_a_receiver_that_is_not_there_is_told_in_the_log(
    client: TestClient, courier: Courier, receiver: Receiver
) -> None:
    job_id = submit_with(client, {"url": "http://127.0.0.1:9/hook"}).json()["id"]
    client.post(f"/jobs/{job_id}/cancel")
    courier.round()
    (delivery,) = deliveries(client, job_id)
    assert delivery["status"] == "pending"
    assert (delivery["attempts"][0]["status_code"], delivery["attempts"][0]["error"]) == (
        None,
        "The host 127.0.0.1 does not answer; try again.",
    )


def test_an_attempt_that_fails_unexpectedly_counts(
    client: TestClient, courier: Courier, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = canceled(client, receiver)
    monkeypatch.setattr(OutboundClient, "send", lambda *_, **__: 1 / 0)
    courier.round()
    (delivery,) = deliveries(client, job_id)
    assert [attempt["error"] for attempt in delivery["attempts"]] == ["The request could not be sent."]


def test_who_is_gone_is_not_asked_again(client: TestClient, courier: Courier, receiver: Receiver) -> None:
    job_id = canceled(client, receiver)
    receiver.answers = [(410, {})]
    courier.round()
    (delivery,) = deliveries(client, job_id)
    assert (delivery["status"], delivery["next_attempt_at"], len(delivery["attempts"])) == ("failed", None, 1)


def test_after_a_day_of_attempts_it_is_given_up(
    client: TestClient, courier: Courier, receiver: Receiver, settings: Settings
) -> None:
    job_id = canceled(client, receiver)
    receiver.answers = [(503, {})] * MOST_ATTEMPTS
    while courier.round():
        make_due(settings)
    (delivery,) = deliveries(client, job_id)
    assert (delivery["status"], len(delivery["attempts"])) == ("failed", MOST_ATTEMPTS)
    assert len(receiver.received) == MOST_ATTEMPTS


def test_a_receiver_may_ask_for_a_longer_pause(client: TestClient, courier: Courier, receiver: Receiver) -> None:
    job_id = canceled(client, receiver)
    receiver.answers = [(429, {"Retry-After": "3600"})]
    courier.round()
    (delivery,) = deliveries(client, job_id)
    pause = datetime.fromisoformat(delivery["next_attempt_at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < pause < timedelta(minutes=61)


def test_the_pauses_grow_and_end_after_about_a_day() -> None:
    found = [pause_after(attempts, 500) for attempts in range(1, MOST_ATTEMPTS + 1)]
    pauses = [pause for pause in found if pause is not None]
    assert found[-1] is None
    assert timedelta(seconds=4) <= pauses[0] <= timedelta(seconds=6)
    assert all(2 * shorter < longer for shorter, longer in pairwise(pauses))
    assert timedelta(hours=20) < sum(pauses, timedelta()) < timedelta(hours=33)


def test_a_deleted_job_is_not_told_any_more(client: TestClient, courier: Courier, receiver: Receiver) -> None:
    job_id = canceled(client, receiver)
    assert client.delete(f"/jobs/{job_id}").status_code == 204
    assert courier.round() == 0
    assert receiver.received == []


def test_the_courier_of_the_service_delivers(settings: Settings, receiver: Receiver) -> None:
    with serving(settings.model_copy(update={"outbound_networks": LOOPBACK})) as client:
        canceled(client, receiver)
        until = time.monotonic() + 20
        while not receiver.received and time.monotonic() < until:
            time.sleep(0.05)
    assert len(receiver.received) == 1


def test_a_document_may_name_a_webhook_and_the_job_shows_it(client: TestClient, receiver: Receiver) -> None:
    sha256 = client.post("/checkpoints", content=EXAMPLE.read_bytes()).json()["sha256"]
    webhook = {"url": receiver.url, "events": ["job.failed"]}
    job = client.post("/jobs", json={"checkpoint": {"sha256": sha256}, "webhook": webhook}).json()
    assert job["webhook"] == webhook
    assert deliveries(client, job["id"]) == []


def test_a_job_without_a_webhook_has_no_deliveries(client: TestClient) -> None:
    job = submit(client).json()
    assert job["webhook"] is None
    client.post(f"/jobs/{job['id']}/cancel")
    assert deliveries(client, job["id"]) == []
    assert client.get("/jobs/job_unknown/deliveries").json()["type"] == "unknown-job"


def test_another_webhook_is_another_request(client: TestClient, receiver: Receiver) -> None:
    key = {"headers": {"Idempotency-Key": '"k"'}}
    first, again = (submit_with(client, {"url": receiver.url}, **key) for _ in range(2))
    other = submit_with(client, {"url": receiver.url, "events": ["job.failed"]}, **key)
    assert again.json()["id"] == first.json()["id"]
    assert other.json()["type"] == "idempotency-key-reused"


BAD_WEBHOOKS = [
    ({}, "invalid-webhook"),
    ({"url": "http://127.0.0.1/", "events": []}, "invalid-webhook"),
    ({"url": "http://127.0.0.1/", "events": ["job.started"]}, "invalid-webhook"),
    ({"url": "http://127.0.0.1/", "secret": "mine"}, "invalid-webhook"),
    ({"url": "https://10.0.0.1/hook"}, "refused-address"),
    ({"url": "https://169.254.169.254/latest"}, "refused-address"),
    ({"url": "http://8.8.8.8/hook"}, "refused-address"),
    ({"url": "ftp://8.8.8.8/hook"}, "refused-address"),
    ({"url": "https://user:password@8.8.8.8/"}, "refused-address"),
    ({"url": "no address"}, "refused-address"),
]


@pytest.mark.parametrize(("webhook", "slug"), BAD_WEBHOOKS)
def test_a_webhook_that_nothing_is_sent_to_is_refused(
    client: TestClient, reaching: Settings, webhook: Any, slug: str
) -> None:
    answer = submit_with(client, webhook)
    assert (answer.status_code, answer.json()["type"]) == (422, slug)
    assert stored_files(reaching) == []


def test_a_document_whose_webhook_is_refused_fetches_nothing(client: TestClient, receiver: Receiver) -> None:
    webhook = {"url": "https://10.0.0.1/hook"}
    answer = client.post("/jobs", json={"checkpoint": {"url": receiver.url}, "webhook": webhook})
    assert answer.json()["detail"].startswith("webhook.url: ")
    assert receiver.received == []


def test_a_tenant_has_its_own_secret_which_reading_keys_do_not_show(with_keys: Settings, keys: ApiKeyService) -> None:
    acme, rival, reader = (
        {"Authorization": f"Bearer {keys.create(tenant, [scope]).reveal()}"}
        for tenant, scope in (("acme", Scope.WRITE), ("rival", Scope.WRITE), ("acme", Scope.READ))
    )
    with serving(with_keys) as client:
        found = [client.get("/webhooks/secret", headers=headers).json()["secret"] for headers in (acme, rival, acme)]
        assert client.get("/webhooks/secret", headers=reader).json()["type"] == "missing-scope"
        assert client.post("/webhooks/secret/rotate", headers=reader).json()["type"] == "missing-scope"
    assert found[0] == found[2] != found[1]


def test_secrets_are_random() -> None:
    assert new_secret() != new_secret()
    assert len(base64.b64decode(new_secret().removeprefix("whsec_"))) == 32
