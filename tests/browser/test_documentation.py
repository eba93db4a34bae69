"""The API documentation in the browser."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import Site


def test_the_documentation_needs_nothing_from_elsewhere(page: Page, site: Site) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/docs")
    expect(page.locator("#docs")).to_contain_text("Submit a checkpoint")
    page.get_by_text("Submit a checkpoint").click()
    expect(page.locator("#docs")).to_contain_text("Queue a job that encodes a checkpoint")
    own = (f"http://127.0.0.1:{site.port}/", "data:")
    assert [address for address in asked if not address.startswith(own)] == []


def test_the_buttons_of_the_documentation_do_not_look_like_those_of_other_pages(page: Page) -> None:
    page.emulate_media(color_scheme="light")
    page.goto("/docs")
    schema = page.locator(".json-schema-2020-12-accordion").first
    expect(schema).to_be_visible()
    expect(schema).not_to_have_css("background-color", "rgb(44, 100, 173)")
