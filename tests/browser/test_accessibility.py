"""The pages with a screen reader, without a mouse, and on a small screen."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Site, window
from tests.dataset_files import small_file
from tests.shared_service import Tenant

GRAVE = {"serious", "critical"}


@pytest.fixture
def addresses(tenant: Tenant) -> list[str]:
    """All pages, with a job on them."""
    job = tenant.client.submit(architecture="digits-cnn", target_ratio=12)
    tenant.client.http.post("/datasets", params={"name": "mine"}, content=small_file())
    return ["/", "/new", "/data", f"/view/{job.rpartition('/')[2]}", "/view/unknown", "/sign-in"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_grave_fault(page: Page, addresses: list[str], scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type] # a parameter of the test
    for address in addresses:
        page.goto(address)
        found = Axe().run(page).response["violations"]
        grave = [(fault["id"], fault["nodes"][0]["html"]) for fault in found if fault["impact"] in GRAVE]
        assert grave == [], address


def test_the_pages_fit_a_phone(page: Page, addresses: list[str]) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    for address in addresses:
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, address


def test_a_phone_shows_the_heading_of_each_figure_in_a_list(page: Page, tenant: Tenant) -> None:
    tenant.client.submit(target_ratio=12)
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto("/")
    shown = page.locator(".rows td.number").evaluate("cell => getComputedStyle(cell, '::before').content")
    assert shown == '"Input: "'


def test_everything_is_reached_by_the_keyboard(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("New job")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("New job")


def test_the_lists_are_readable_without_scripts_and_no_form_is_sent(
    browser: Browser, site: Site, tenant: Tenant
) -> None:
    tenant.client.submit(target_ratio=12)
    with window(browser, site.port, tenant.key, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto("/")
        page.get_by_role("link", name="digits-cnn.safetensors").click()
        expect(page.locator(".badge")).to_have_text("queued")
        page.goto("/new")
        expect(page.get_by_role("button", name="Submit")).to_be_disabled()
