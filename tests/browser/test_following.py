"""The page of a job while things change elsewhere."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect

from app.jobs.events import repository
from app.kit.backoff import Backoff
from tests.browser.conftest import Site
from tests.browser.played_worker import PlayedWorker
from tests.shared_service import Tenant


@pytest.fixture
def job_id(tenant: Tenant) -> str:
    """A queued job."""
    return tenant.client.submit(architecture="digits-cnn", hidden_size=16).rpartition("/")[2]


@pytest.fixture
def worker(site: Site, job_id: str) -> PlayedWorker:
    """Its worker."""
    return PlayedWorker(site.settings, site.sessions, job_id)


def test_a_running_job_is_followed_to_its_results(
    page: Page, job_id: str, worker: PlayedWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "_BACKOFF", Backoff(first=timedelta(0), longest=timedelta(0)))
    page.goto(f"/view/{job_id}")
    expect(page.locator("#what")).to_have_text("digits-cnn, hidden size 16")
    expect(page.locator(".badge")).to_have_text("running")
    for step in (1, 2, 3):
        worker.report("reconstruction", step, 1 / step)
    expect(page.locator(".phases .now")).to_have_text("reconstruction")
    expect(page.locator(".chart canvas").first).to_be_visible()
    expect(page.locator("#elapsed")).to_have_text(re.compile(r"^\d+ s$"))
    worker.succeed({"weights.safetensors": b"the weights"})
    expect(page.locator(".badge")).to_have_text("succeeded")
    expect(page.locator("#events li")).to_contain_text(["queued", "running", "succeeded"])
    with page.expect_download() as download:
        page.get_by_role("link", name="weights.safetensors").click()
    download.value.save_as(tmp_path / "weights.safetensors")
    assert (tmp_path / "weights.safetensors").read_bytes() == b"the weights"


def test_a_running_job_is_canceled_and_deleted(page: Page, job_id: str, worker: PlayedWorker) -> None:
    page.goto(f"/view/{job_id}")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".badge")).to_have_text("canceling")
    worker.confirm_cancel()
    expect(page.locator(".badge")).to_have_text("canceled")
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("#jobs")).to_contain_text("There are no jobs yet")


def test_a_job_that_fails_says_why(page: Page, job_id: str, worker: PlayedWorker) -> None:
    page.goto(f"/view/{job_id}")
    worker.fail("target_too_small", "100 bytes are not enough.")
    expect(page.locator(".badge")).to_have_text("failed")
    expect(page.locator(".state [role=status]")).to_contain_text("100 bytes are not enough.")


def test_a_job_that_was_deleted_elsewhere_is_asked_for_no_more(page: Page, tenant: Tenant) -> None:
    job = tenant.client.submit(target_ratio=12)
    page.goto(f"/view/{job.rpartition('/')[2]}")
    expect(page.locator(".badge")).to_have_text("queued")
    # The page of a job that has ended does not ask: it ends and is deleted between two looks.
    page.route("**/view/*", lambda route: route.abort())
    tenant.client.http.post(f"{job}/cancel").raise_for_status()
    tenant.client.http.delete(job).raise_for_status()
    page.unroute("**/view/*")
    expect(page.locator("#job")).to_have_text("This job no longer exists.")
    expect(page.locator("#alert")).to_be_empty()
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    page.wait_for_timeout(2500)
    assert asked == []


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_while_the_page_follows_is_shown_until_it_is_over(page: Page, tenant: Tenant, status: int) -> None:
    job = tenant.client.submit(target_ratio=12)
    page.goto(f"/view/{job.rpartition('/')[2]}")
    sentence = "Too much at once; try again in 2 seconds."
    page.route(
        "**/view/*",
        lambda route: route.fulfill(
            status=status, content_type="application/problem+json", body=json.dumps({"detail": sentence})
        ),
    )
    expect(page.locator("#alert")).to_have_text(sentence)
    page.unroute("**/view/*")
    expect(page.locator("#alert")).to_be_empty()
    expect(page.locator(".badge")).to_have_text("queued")


def test_all_times_of_a_page_are_in_the_time_zone_that_they_name(page: Page, tenant: Tenant) -> None:
    job = tenant.client.submit(target_ratio=12)
    page.goto(f"/view/{job.rpartition('/')[2]}")
    submitted = page.locator("p time").inner_text()
    event = page.locator("#events time").first
    expect(event).to_have_text(re.compile(re.escape(submitted.removesuffix(" UTC")) + r":\d\d UTC"))
