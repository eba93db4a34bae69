"""A real browser with a real service. Screenshots go to the folder NERN_TEST_SCREENSHOTS, if set."""

import asyncio
import os
import re
import shutil
import subprocess
from asyncio.events import _set_running_loop
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from app.access.browser import COOKIE
from app.db.engine import create_sessions
from app.db.transactions import Sessions
from app.settings import Authentication, Settings
from tests.conftest import ROOT
from tests.nern_client.conftest import listening
from tests.shared_service import Tenant, tenant_of

_REFUSED = re.compile("Failed to load resource|^Response Status Error Code|^htmx:sendError")
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
_QUIET += ["--disable-component-update", "--disable-sync"]

expect.set_options(timeout=60_000)


@dataclass(frozen=True)
class Site:
    """A running service."""

    port: int
    settings: Settings
    sessions: Sessions


@pytest.fixture(scope="session")
def chromium() -> Iterator[tuple[Browser, asyncio.AbstractEventLoop]]:
    """Chromium, installed if this user may, and Playwright's event loop."""
    program = _find()
    if program is None:
        subprocess.run([ROOT / "scripts" / "apt-install", "chromium"], check=False)
        program = _find()
    if program is None:
        pytest.fail("no Chromium is installed: the tests of the pages need one (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        loop = asyncio.get_running_loop()
        browser = playwright.chromium.launch(executable_path=program, args=_QUIET)
        _set_running_loop(None)
        yield browser, loop
        _set_running_loop(loop)
        browser.close()


@pytest.fixture
def browser(chromium: tuple[Browser, asyncio.AbstractEventLoop]) -> Iterator[Browser]:
    """The browser of this process. Its event loop is this thread's only during a test, because others run theirs."""
    browser, loop = chromium
    _set_running_loop(loop)
    yield browser
    _set_running_loop(None)


@pytest.fixture(scope="session")
def site_without_worker(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[Site]:
    """The API in this process, with keys, in the embedded mode; the pages are the same in both modes."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("site"), authentication=Authentication.KEYS)
    shutil.copyfile(migrated_sqlite, settings.database.removeprefix("sqlite:///"))
    sessions = create_sessions(settings)
    with listening(settings) as port:
        yield Site(port, settings, sessions)
    sessions.kw["bind"].dispose()


@pytest.fixture
def site(site_without_worker: Site) -> Site:
    """The service of the page; its jobs stay queued."""
    return site_without_worker


@pytest.fixture
def tenant(site: Site) -> Iterator[Tenant]:
    """A tenant for one test."""
    with tenant_of(site.sessions, site.port) as tenant:
        yield tenant


@contextmanager
def window(browser: Browser, port: int, key: str = "", **options: Any) -> Iterator[BrowserContext]:
    """Open a window of its own for the service on this port, signed in if there is a key."""
    base = f"http://127.0.0.1:{port}"
    context = browser.new_context(base_url=base, viewport={"width": 1100, "height": 900}, **options)
    if key:
        context.add_cookies([{"name": COOKIE, "value": key, "url": base, "httpOnly": True, "sameSite": "Strict"}])
    yield context
    context.close()


@contextmanager
def page_without_errors(context: BrowserContext) -> Iterator[Page]:
    """Open a page; fail on any error in the browser."""
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # A 4xx answer is reported here too, by the browser and by htmx; the tests check how the page handles it.
        if message.type == "error" and not _REFUSED.search(message.text):
            errors.append(message.text)

    page = context.new_page()
    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert errors == []


@pytest.fixture
def page(browser: Browser, site: Site, tenant: Tenant) -> Iterator[Page]:
    """A page of the running service, signed in."""
    with window(browser, site.port, tenant.key) as context, page_without_errors(context) as page:
        yield page


def _find() -> str | None:
    return next(filter(None, map(shutil.which, _PROGRAMS)), None)


def take_screenshot(page: Page, name: str) -> None:
    """Save a screenshot of the page, if requested."""
    folder = os.environ.get("NERN_TEST_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png")
