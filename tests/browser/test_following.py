"""The page of a job while things change elsewhere."""

import json
import re

import pytest
from playwright.sync_api import Page, Request, expect

from tests.shared_service import Tenant


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
