"""A real browser with a real service. Screenshots go to the folder NERN_TEST_SCREENSHOTS, if set."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from app.db.engine import migrate
from app.settings import Settings
from tests.conftest import ROOT
from tests.service.conftest import Service

_REFUSED = re.compile("Failed to load resource|^Response Status Error Code|^htmx:sendError")
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
_QUIET += ["--disable-component-update", "--disable-sync"]

expect.set_options(timeout=60_000)


# Playwright keeps an event loop in this thread, which tests of other modules do not work with.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; installed if this user may."""
    program = _find()
    if program is None:
        subprocess.run([ROOT / "scripts" / "apt-install", "chromium"], check=False)
        program = _find()
    if program is None:
        pytest.fail("no Chromium is installed: the tests of the pages need one (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    """A page of the running service. Fails on any error in the browser."""
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # A 4xx answer is reported here too, by the browser and by htmx; the tests check how the page handles it.
        if message.type == "error" and not _REFUSED.search(message.text):
            errors.append(message.text)

    context = browser.new_context(base_url=f"http://127.0.0.1:{service.port}", viewport={"width": 1100, "height": 900})
    page = context.new_page()
    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


@pytest.fixture
def settings(embedded: Settings) -> Settings:
    """Settings of the embedded mode; the pages are the same in both modes."""
    return embedded


@pytest.fixture
def service(settings: Settings, tmp_path: Path) -> Iterator[Service]:
    """A service with a running API."""
    migrate(settings)
    with ExitStack() as stack:
        service = Service(settings, stack, tmp_path)
        service.start_api()
        yield service


def _find() -> str | None:
    return next(filter(None, map(shutil.which, _PROGRAMS)), None)


def take_screenshot(page: Page, name: str) -> None:
    """Save a screenshot of the page, if requested."""
    folder = os.environ.get("NERN_TEST_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png")
