"""Signing in with a key in a browser, with the headers that only a browser sets."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Site, page_without_errors, window
from tests.conftest import EXAMPLE
from tests.shared_service import Tenant


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A page that is not signed in."""
    with window(browser, site.port) as context, page_without_errors(context) as page:
        yield page


def test_a_key_signs_in_submits_a_job_and_signs_out(page: Page, tenant: Tenant) -> None:
    page.goto("/new")
    page.get_by_label("API key").fill(tenant.key)
    page.get_by_role("button", name="Sign in").click()
    # The page requested at first.
    expect(page.get_by_role("heading", level=1)).to_have_text("New job")
    page.get_by_label("Checkpoint").set_input_files(EXAMPLE)
    page.get_by_role("button", name="Submit").click()
    expect(page.locator(".badge")).to_have_text("queued")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_the_page_of_another_site_signs_nobody_out(page: Page, tenant: Tenant, tmp_path: Path) -> None:
    page.goto("/sign-in")
    page.get_by_label("API key").fill(tenant.key)
    page.get_by_role("button", name="Sign in").click()
    own = page.url
    page.route(
        "http://evil.example/",
        lambda route: route.fulfill(
            content_type="text/html", body=f'<form method="post" action="{own}sign-out"><button>Win</button></form>'
        ),
    )
    page.goto("http://evil.example/")
    page.get_by_role("button", name="Win").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Forbidden")
    page.goto(own)
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
