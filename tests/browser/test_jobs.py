"""Jobs that a worker runs, in the browser."""

import hashlib
import re
from contextlib import ExitStack
from pathlib import Path

import pytest
import safetensors.torch
from playwright.sync_api import Browser, Page, expect

from app.settings import Settings
from nern_core.networks.evaluate import open_evaluator
from tests.browser.conftest import Site, page_without_errors, take_screenshot, window
from tests.conftest import DIGITS, EXAMPLE
from tests.first_job import FirstJob
from tests.processes import Service
from tests.shared_service import SharedService

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def site(embedded_service: SharedService, embedded_job: FirstJob) -> Site:
    """The service of this process, with its worker."""
    return Site(embedded_service.port, embedded_service.settings, embedded_service.sessions)


def fill_in(page: Page, **values: str) -> None:
    """Open the form of a new job and fill in these fields."""
    page.goto("/new")
    page.get_by_label("Checkpoint").set_input_files(EXAMPLE)
    for label, value in values.items():
        page.locator(f"[data-option={label}]").fill(value)


@pytest.mark.gate
def test_a_checkpoint_is_submitted_followed_and_downloaded(page: Page, tmp_path: Path) -> None:
    fill_in(page, architecture="digits-cnn", dataset=str(DIGITS), hidden_size="24", steps="600")
    take_screenshot(page, "new")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("digits-cnn.safetensors")
    expect(page.locator("#what")).to_have_text("digits-cnn, hidden size 24")
    expect(page.locator(".phases .now")).to_have_text("reconstruction", timeout=240_000)
    expect(page.locator(".chart canvas").first).to_be_visible()
    take_screenshot(page, "running")
    expect(page.locator("#elapsed")).to_have_text(re.compile(r"^[1-9]\d* s$"))
    expect(page.locator(".badge")).to_have_text("succeeded", timeout=240_000)
    expect(page.locator(".phases .done")).to_have_text(
        [
            "starting",
            "reading",
            "ordering",
            "reconstruction",
            "distillation",
            "writing",
            "evaluation",
            "comparison",
            "publication",
        ]
    )
    expect(page.locator("#events li")).to_contain_text(["queued", "running", "succeeded"])
    report = page.frame_locator("iframe.report")
    expect(report.get_by_role("heading", level=1)).to_contain_text("digits-cnn")
    take_screenshot(page, "job")
    with page.expect_download() as download:
        page.get_by_role("link", name="weights.safetensors").click()
    download.value.save_as(tmp_path / "weights.safetensors")
    digest = hashlib.sha256((tmp_path / "weights.safetensors").read_bytes()).hexdigest()
    expect(page.locator(".downloads li", has_text="weights.safetensors").locator("code")).to_have_text(
        f"{digest[:12]}…"
    )
    assert safetensors.torch.load_file(tmp_path / "weights.safetensors").keys() == (
        safetensors.torch.load_file(EXAMPLE).keys()
    )


def test_in_a_service_without_keys_the_form_with_nothing_but_the_file_makes_a_faithful_file(
    browser: Browser, embedded: Settings, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        service = Service(embedded, stack, tmp_path)
        service.start_api()
        service.start_worker()
        page = stack.enter_context(page_without_errors(stack.enter_context(window(browser, service.port))))
        fill_in(page)
        expect(page.get_by_role("button", name="Sign out")).to_have_count(0)
        page.get_by_role("button", name="Submit").click()
        expect(page.locator("#what")).to_have_text("No architecture given, default size")
        expect(page.locator(".badge")).to_have_text("succeeded", timeout=240_000)
        with page.expect_download() as download:
            page.get_by_role("link", name="weights.safetensors").click()
        download.value.save_as(tmp_path / "weights.safetensors")
        [job] = service.client.get("/jobs")["items"]
    evaluator = open_evaluator("digits-cnn", DIGITS)
    original, decoded = (
        evaluator.accuracy(safetensors.torch.load_file(path)) for path in (EXAMPLE, tmp_path / "weights.safetensors")
    )
    assert original - decoded <= 0.5
    assert job["artifacts"]["encoding.nern"]["bytes"] < EXAMPLE.stat().st_size / 4
