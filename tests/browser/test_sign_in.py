"""Signing in with a key in a browser, with the headers that only a browser sets."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from app.access.caller import Scope
from app.access.service import ApiKeyService
from app.db.engine import create_sessions
from app.settings import Authentication, Settings
from tests.conftest import EXAMPLE

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def settings(embedded: Settings) -> Settings:
    """A service that needs keys."""
    return Settings(data_dir=embedded.data_dir, authentication=Authentication.KEYS)


@pytest.fixture
def key(settings: Settings) -> str:
    """A key with all scopes."""
    sessions = create_sessions(settings)
    token = ApiKeyService(sessions).create("acme", tuple(Scope))
    sessions.kw["bind"].dispose()
    return token.reveal()


def test_a_key_signs_in_submits_a_job_and_signs_out(page: Page, key: str) -> None:
    page.goto("/new")
    page.get_by_label("API key").fill(key)
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


def test_the_page_of_another_site_signs_nobody_out(page: Page, key: str, tmp_path: Path) -> None:
    page.goto("/sign-in")
    page.get_by_label("API key").fill(key)
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
