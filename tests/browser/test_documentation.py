"""The description of the API, as people see it."""

import pytest
from playwright.sync_api import Page, expect

from tests.service.conftest import Service

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(300)]


def test_the_documentation_needs_nothing_from_elsewhere(page: Page, service: Service) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/docs")
    expect(page.locator("#docs")).to_contain_text("Submit a checkpoint")
    page.get_by_text("Submit a checkpoint").click()
    expect(page.locator("#docs")).to_contain_text("Queues a job that encodes a checkpoint")
    own = (f"http://127.0.0.1:{service.port}/", "data:")
    assert [address for address in asked if not address.startswith(own)] == []
