"""The form of a new job: what it carries over, what it refuses, and in which words."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import DIGITS, EXAMPLE
from tests.shared_service import Tenant


def begin(page: Page, address: str = "/new") -> None:
    """Open the form, with a checkpoint."""
    page.goto(address)
    page.get_by_label("Checkpoint").set_input_files(EXAMPLE)


def submit(page: Page) -> None:
    page.get_by_role("button", name="Submit").click()


def submitted_options(page: Page, tenant: Tenant) -> dict[str, Any]:
    """Submit the form; the options of the job that it makes."""
    submit(page)
    expect(page.locator("#what")).to_be_visible()
    options: dict[str, Any] = tenant.client.get("/jobs")["items"][0]["options"]
    return options


@pytest.mark.parametrize(
    "options",
    [
        {"kernels_per_coordinate": 4, "steps": 7, "seed": 2**60 + 1},
        {"target_ratio": 1.05, "kernels": ["features.[0,3].weight", "!features.3.*"]},
        {
            "architecture": "digits-cnn",
            "dataset": str(DIGITS),
            "representation": "predictor",
            "recipe": "data-free",
            "kernels": ["spatial"],
            "hidden_size": 16,
            "permutation": "none",
            "seconds": 0.25,
            "rounds": 2,
            "fail_over": 0.0,
            "importance": True,
            "direct_quantization": True,
        },
    ],
)
def test_another_job_has_all_options_of_the_first(page: Page, tenant: Tenant, options: dict[str, Any]) -> None:
    job_id = tenant.client.submit(**options).rpartition("/")[2]
    page.goto(f"/new?like={job_id}")
    assert submitted_options(page, tenant) == tenant.client.get(f"/jobs/{job_id}")["options"]


def test_a_bound_that_is_broken_in_a_closed_section_opens_it(page: Page) -> None:
    begin(page)
    page.get_by_text("More options").click()
    field = page.get_by_label("Rounds")
    field.fill("99")
    page.get_by_text("More options").click()
    expect(field).not_to_be_visible()
    submit(page)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#error-rounds")).to_have_text(re.compile(r"10"))
    expect(page.locator("#refusal")).to_have_text("Nothing was submitted: correct the marked fields above.")


def test_an_alternative_that_is_not_chosen_is_not_looked_at(page: Page, tenant: Tenant) -> None:
    begin(page)
    page.get_by_role("spinbutton", name="Compression ratio").fill("0.5")
    page.locator("#goal-default").check()
    assert submitted_options(page, tenant)["target_ratio"] is None


def test_the_form_has_the_bounds_of_the_api(page: Page, tenant: Tenant) -> None:
    begin(page)
    field = page.get_by_role("spinbutton", name="Compression ratio")
    field.fill("1")
    submit(page)
    expect(page.locator("#error-target_ratio")).to_have_text("Give a number above 1.")
    field.fill("1.05")
    assert submitted_options(page, tenant)["target_ratio"] == 1.05


def test_a_seed_beyond_the_numbers_of_scripts_is_sent_exactly(page: Page, tenant: Tenant) -> None:
    begin(page)
    page.get_by_text("More options").click()
    page.get_by_label("Seed").fill("9007199254740993")
    assert submitted_options(page, tenant)["seed"] == 9007199254740993


def test_back_brings_back_the_whole_form(page: Page, tenant: Tenant) -> None:
    begin(page)
    filled = {
        "name": "nightly",
        "architecture": "digits-cnn",
        "labels": "team=vision",
        "target_bytes": "40000",
        "steps": "7",
    }
    for field, value in filled.items():
        page.locator(f"#{field}").fill(value)
    first = submitted_options(page, tenant)
    page.go_back()
    for field, value in filled.items():
        expect(page.locator(f"#{field}")).to_have_value(value)
    assert page.evaluate("document.getElementById('checkpoint').files[0].name") == EXAMPLE.name
    submit(page)
    expect(page.locator("#what")).to_be_visible()
    jobs = tenant.client.get("/jobs")["items"]
    assert [job["options"] for job in jobs] == [first, first]


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (
            "Team=vision",
            "“Team” is no name of a label: use lowercase letters, digits and . _ / -, 63 characters at most.",
        ),
        ("foo", "“foo” is not a label. A label is KEY=VALUE, such as team=vision."),
        ("=x", "“=x” has no name: write a label like team=vision."),
        ("a=1, a=2", "“a” is there twice: give each label one value."),
    ],
)
def test_labels_that_do_not_fit_are_refused_in_words(page: Page, labels: str, sentence: str) -> None:
    begin(page)
    page.get_by_label("Labels").fill(labels)
    submit(page)
    expect(page.locator("#error-labels")).to_have_text(sentence)
    expect(page.get_by_label("Labels")).to_be_focused()


def test_what_the_service_refuses_is_said_with_the_labels_of_the_form(page: Page) -> None:
    begin(page)
    page.get_by_text("More options").click()
    page.locator("#fail_over").fill("1")
    submit(page)
    expect(page.locator("#error-fail_over")).to_have_text(
        "“Fail above accuracy drop” needs a “Data set”, to measure the accuracy."
    )


def test_all_wrong_fields_are_marked_at_once(page: Page) -> None:
    begin(page)
    page.get_by_label("Deadline").fill("0")
    page.get_by_label("Labels").fill("foo")
    page.locator("#architecture").fill("resnet18")
    submit(page)
    expect(page.locator("[aria-invalid]")).to_have_count(3)
    expect(page.locator("#error-architecture")).to_have_text(
        "There is no such architecture; did you mean torchvision:resnet18?"
    )
