import html
import json
import re
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from app.settings import Settings
from nern_core.contract.options import EncodeOptions
from tests.app.conftest import serving, submit
from tests.app.test_jobs_api import finish
from tests.conftest import DIGITS, EXAMPLE, ROOT
from tests.dataset_files import safetensors_file, small_file

GOLDEN = ROOT / "tests" / "golden" / "quantized-v4.nern"
PAGES = ["/", "/new", "/data", "/docs", "/sign-in", "/view/job_unknown"]


@pytest.mark.parametrize("address", PAGES)
def test_a_page_runs_its_own_scripts_and_no_others(embedded_client: TestClient, address: str) -> None:
    answer = embedded_client.get(address)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]* src=)|style=|\son[a-z]+=", answer.text)


@pytest.mark.parametrize("address", PAGES)
def test_everything_that_a_page_needs_comes_from_the_service(embedded_client: TestClient, address: str) -> None:
    needed = re.findall(r'<(?:script|link|img|iframe)[^>]* (?:src|href)="([^"]+)"', embedded_client.get(address).text)
    assert needed
    for asset in needed:
        assert asset.startswith("/assets/")
        assert embedded_client.get(asset).status_code == 200, asset


def test_the_list_shows_the_jobs_of_a_status_a_page_at_a_time(embedded_client: TestClient) -> None:
    for _ in range(26):
        submit(embedded_client, {"target_ratio": 12})
    first = embedded_client.get("/", params={"status": "queued"}).text
    assert first.count("No architecture given, compression ratio 12") == 25
    (older,) = re.findall(r'href="(/\?status=queued&cursor=[^"]+)"', first.replace("&amp;", "&"))
    assert embedded_client.get(older).text.count("No architecture given, compression ratio 12") == 1
    assert "No jobs match this filter." in embedded_client.get("/", params={"status": "failed"}).text


def links(page: str) -> dict[str, str]:
    """The addresses of all links of a page, by their words."""
    return {words: html.unescape(address) for address, words in re.findall(r'<a href="([^"]*)"[^>]*>([^<]*)</a>', page)}


def names(page: str) -> list[str]:
    """The names of the jobs on a page."""
    return re.findall(r'<a id="job_[^>]*>([^<]*)</a>', page)


def test_older_pages_of_the_list_lead_back_to_newer_ones(embedded_client: TestClient) -> None:
    checkpoint = {"checkpoint": EXAMPLE.read_bytes()}
    for number in range(53):
        embedded_client.post("/jobs", files=checkpoint, data={"name": f"{number}"})
    everything = [f"{number}" for number in reversed(range(53))]
    first = embedded_client.get("/?status=queued").text
    assert (names(first), "Newer jobs" in links(first)) == (everything[:25], False)
    second = embedded_client.get(links(first)["Older jobs"]).text
    third = embedded_client.get(links(second)["Older jobs"]).text
    assert (names(third), "Older jobs" in links(third)) == (everything[50:], False)
    back = embedded_client.get(links(third)["Newer jobs"]).text
    assert (names(back), links(back)["Older jobs"]) == (everything[25:50], links(second)["Older jobs"])
    newest = embedded_client.get(links(back)["Newer jobs"])
    assert (names(newest.text), newest.url.query) == (everything[:25], b"status=queued")


def test_the_list_is_narrowed_by_labels(embedded_client: TestClient) -> None:
    checkpoint = {"checkpoint": EXAMPLE.read_bytes()}
    for team in ("vision", "speech & more"):
        embedded_client.post("/jobs", files=checkpoint, data={"labels": json.dumps({"team": team})})
    everything = embedded_client.get("/").text
    (address,) = set(re.findall(r'href="(/\?label=team%3Dspeech[^"]*)"', everything))
    found = embedded_client.get(address.replace("&amp;", "&")).text
    assert "team=speech &amp; more" in found
    assert "team=vision" not in found
    assert embedded_client.get("/", params={"label": "team"}).status_code == 422


def test_names_of_others_are_text(embedded_client: TestClient, tmp_path: Path) -> None:
    folder = shutil.copytree(DIGITS, tmp_path / "<img src=x>")
    job = submit(embedded_client, {"architecture": "digits-cnn", "dataset": str(folder)}).json()
    page = embedded_client.get(f"/view/{job['id']}").text
    assert "<img" not in page
    assert "&lt;img src=x&gt;" in page


def test_the_form_starts_from_the_options_of_another_job(embedded_client: TestClient) -> None:
    job = submit(embedded_client, {"target_bytes": 5000, "permutation": "in-filter", "importance": True}).json()
    page = embedded_client.get("/new", params={"like": job["id"]}).text
    assert 'value="5000"' in page
    assert "<option selected>in-filter</option>" in page
    assert re.search(r'id="importance"[^>]* checked', page)


def test_every_option_has_a_field(embedded_client: TestClient) -> None:
    fields = re.findall(r'data-option="([^"]+)"', embedded_client.get("/new").text)
    assert sorted(fields) == sorted(EncodeOptions.model_fields)


def test_no_two_things_of_the_form_have_the_same_name(embedded_client: TestClient) -> None:
    page = embedded_client.get("/new").text
    found = re.findall(r"<(?:legend|label|summary)[^>]*>([^<]+)<", page)
    # Each of the two groups has a default.
    assert {name: found.count(name) for name in found if found.count(name) > 1} == {"Default": 2}


def test_the_page_of_a_job_shows_its_options_with_the_labels_of_the_form(embedded_client: TestClient) -> None:
    job = submit(embedded_client, {"kernels": ["features.0.weight"], "seconds": 600}).json()
    page = embedded_client.get(f"/view/{job['id']}").text
    assert "<dt>Kernels</dt><dd>features.0.weight</dd>" in page
    assert "<dt>Training time</dt><dd>600 seconds</dd>" in page


def test_a_script_that_renews_a_part_of_a_page_gets_problems_as_documents(embedded_client: TestClient) -> None:
    answer = embedded_client.get("/view/job_00", headers={"HX-Request": "true"})
    detail = "There is no job 'job_00'; GET /jobs (`nern jobs list`) lists all ids."
    assert (answer.status_code, answer.json()["detail"]) == (404, detail)


def test_the_form_offers_the_checkpoint_of_another_job(embedded_client: TestClient) -> None:
    job = submit(embedded_client, {"target_bytes": 5000}).json()
    page = embedded_client.get("/new", params={"like": job["id"]}).text
    assert f'data-sha256="{job["checkpoint"]["sha256"]}"' in page
    assert "model.bin, 231 KB, is already uploaded." in page
    assert not re.search(r'<input id="checkpoint"[^>]* required', page)
    assert re.search(r'<input id="checkpoint"[^>]* required', embedded_client.get("/new").text)


def test_no_field_of_the_form_shows_what_looks_like_a_value(embedded_client: TestClient) -> None:
    assert "placeholder" not in embedded_client.get("/new").text


@pytest.mark.parametrize("address", PAGES)
def test_no_page_has_two_elements_of_one_id(embedded_client: TestClient, address: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', embedded_client.get(address).text)
    assert sorted(ids) == sorted(set(ids))


def test_every_field_of_the_form_has_a_place_for_what_is_wrong_with_it(embedded_client: TestClient) -> None:
    page = embedded_client.get("/new").text
    fields = re.findall(r"<(?:input|select) (?![^>]*type=\"(?:radio|checkbox))[^>]*>", page)
    assert len(fields) >= 16
    for field in fields:
        (name,) = re.findall(r'id="([a-z_]+)"', field)
        assert f'help-{name} error-{name}"' in field
        assert f'id="error-{name}" data-error="{name}"' in page


def test_a_job_is_shown_by_its_name(embedded_client: TestClient) -> None:
    form = {"files": {"checkpoint": EXAMPLE.read_bytes()}, "data": {"name": "<nightly>"}}
    job = embedded_client.post("/jobs", **form).json()  # type: ignore[arg-type] # a form
    assert ">&lt;nightly&gt;</a>" in embedded_client.get("/").text
    assert "<h1>&lt;nightly&gt;</h1>" in embedded_client.get(job["links"]["page"]).text


def test_a_reconstruction_has_a_page_without_options(embedded_client: TestClient) -> None:
    form = {"encoding": ("small.nern", GOLDEN.read_bytes())}
    job = embedded_client.post("/reconstructions", files=form).json()
    page = embedded_client.get(f"/view/{job['id']}").text
    assert "<h1>small.nern</h1>" in page
    assert '<p id="what">Weight reconstruction</p>' in page
    assert "Encoding of 3.92 KB" in page
    assert 'id="options"' not in page
    assert "New job with these options" not in page
    assert "Weight reconstruction" in embedded_client.get("/").text
    assert embedded_client.get("/new", params={"like": job["id"]}).status_code == 200


def test_the_form_offers_the_data_sets_that_there_are(embedded_client: TestClient) -> None:
    embedded_client.post("/datasets", params={"name": "mine"}, content=small_file())
    page = embedded_client.get("/new").text
    assert '<datalist id="datasets"><option value="mine"></datalist>' in page
    assert 'list="datasets"' in page


def test_data_sets_are_listed_with_what_they_hold(embedded: Settings) -> None:
    offering = embedded.model_copy(update={"dataset_roots": (DIGITS.parent,)})
    with serving(offering) as client:
        client.post("/datasets", params={"name": "mine"}, content=small_file())
        page = client.get("/data").text
    rows = {
        row[0]: row[1:]
        for row in re.findall(r'<th scope="row">(.+)</th>\s*<td[^>]*>(.+)</td>\s*<td[^>]*>(.+)</td>', page)
    }
    assert rows["mine"] == ("3 of 4 by 5", "2 of 4 by 5")
    assert rows.keys() == {"mine", "digits"}
    # Data sets of the operator cannot be deleted here.
    assert re.findall(r'hx-delete="([^"]+)"', page) == ["/datasets/mine"]


def test_text_lines_are_listed_with_their_size(embedded_client: TestClient) -> None:
    lines = safetensors_file({"text": ("U8", (1200,))})
    embedded_client.post("/datasets", params={"name": "lines"}, content=lines)
    page = embedded_client.get("/data").text
    assert re.search(r'<th scope="row">lines</th>\s*<td[^>]*>1.2 KB of text lines</td>', page)


def test_where_there_are_no_data_sets_the_page_says_what_else_jobs_may_name(embedded_client: TestClient) -> None:
    page = embedded_client.get("/data").text
    assert "There are no data sets yet. Jobs can also use any folder of this machine." in page


def test_an_asset_that_there_is_not_is_told(embedded_client: TestClient) -> None:
    assert embedded_client.get("/assets/..%2fmain.py").status_code == 404
    assert embedded_client.get("/assets/more.js").status_code == 404


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_a_browser_at_the_address_of_a_job_gets_its_page_and_a_program_the_document(
    embedded_client: TestClient,
) -> None:
    job = submit(embedded_client, {"target_ratio": 12}).json()
    page = embedded_client.get(job["links"]["self"], headers=BROWSER, follow_redirects=False)
    assert (page.status_code, page.headers["Location"], page.headers["Vary"]) == (303, job["links"]["page"], "Accept")
    assert "<h1>" in embedded_client.get(job["links"]["page"]).text
    document = embedded_client.get(job["links"]["self"])
    assert (document.json()["id"], document.headers["Vary"]) == (job["id"], "Accept")


def test_an_unknown_address_is_a_page_for_a_browser_and_a_problem_for_a_program(embedded_client: TestClient) -> None:
    page = embedded_client.get("/nowhere", headers=BROWSER)
    assert (page.status_code, page.headers["Vary"]) == (404, "Accept, HX-Request")
    assert "<h1>Not Found</h1>" in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    problem = embedded_client.get("/nowhere")
    assert (problem.json()["type"], problem.headers["Vary"]) == ("not-found", "Accept")


def test_a_browser_without_a_key_is_asked_for_one_at_addresses_of_the_api_too(with_keys: Settings) -> None:
    with serving(with_keys) as client:
        answer = client.get(f"/jobs/job_{'0' * 32}", headers=BROWSER, follow_redirects=False)
        document = client.get(f"/jobs/job_{'0' * 32}")
    wanted = quote(f"/jobs/job_{'0' * 32}", safe="")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/sign-in?next={wanted}")
    assert document.json()["type"] == "missing-key"


def test_a_problem_of_a_request_that_changes_something_is_a_document(embedded_client: TestClient) -> None:
    answer = embedded_client.post(f"/jobs/job_{'0' * 32}/cancel", headers=BROWSER)
    assert (answer.status_code, answer.json()["type"]) == (404, "unknown-job")


def test_another_job_with_these_options_takes_the_same_weights(embedded_client: TestClient) -> None:
    form = {"files": {"checkpoint": EXAMPLE.read_bytes()}, "data": {"options": '{"key": "features"}'}}
    job = embedded_client.post("/jobs", **form).json()  # type: ignore[arg-type] # a form
    page = embedded_client.get("/new", params={"like": job["id"]}).text
    assert '<input id="key" data-option="key" type="text" value="features"' in page


def test_the_verdict_stands_on_the_page_of_a_job(
    embedded_client: TestClient, embedded: Settings, tmp_path: Path
) -> None:
    job_id = submit(embedded_client).json()["id"]
    finish(embedded, job_id, tmp_path)
    page = embedded_client.get(f"/view/{job_id}").text
    assert "<strong>Degraded.</strong> 96.00 % are right. Ask for more bytes." in page
