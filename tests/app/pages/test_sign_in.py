from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from app.access.caller import Scope
from app.access.service import ApiKeyService
from app.access.token import Token
from app.settings import Settings
from tests.app.conftest import serving

ORIGIN = "http://127.0.0.1"


@pytest.fixture
def browser(with_keys: Settings, keys: ApiKeyService) -> Iterator[TestClient]:
    """A client that keeps cookies and does not follow redirects, because the tests check these."""
    with serving(with_keys) as client:
        client.follow_redirects = False
        yield client


@pytest.fixture
def token(keys: ApiKeyService) -> Token:
    """A key with all scopes."""
    return keys.create("acme", tuple(Scope))


@pytest.mark.parametrize(
    ("address", "form"),
    [
        ("/", "/sign-in"),
        ("/new", "/sign-in?next=%2Fnew"),
        ("/view/job_1", "/sign-in?next=%2Fview%2Fjob_1"),
        ("/?status=failed&status=canceled", "/sign-in?next=%2F%3Fstatus%3Dfailed%26status%3Dcanceled"),
    ],
)
def test_without_a_key_every_page_leads_to_the_form(browser: TestClient, address: str, form: str) -> None:
    answer = browser.get(address)
    assert (answer.status_code, answer.headers["Location"]) == (303, form)


def test_a_page_that_renews_itself_without_a_key_leads_to_the_form_as_a_whole(browser: TestClient) -> None:
    answer = browser.get("/view/job_1", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.text) == (200, "")
    assert answer.headers["HX-Redirect"] == "/sign-in?next=%2Fview%2Fjob_1"


def test_the_form_leads_on_to_the_page_that_was_wanted(browser: TestClient, token: Token) -> None:
    wanted = "/?status=failed&label=team%3Dvision"
    assert (
        'name="next" value="/?status=failed&amp;label=team%3Dvision"'
        in browser.get("/sign-in", params={"next": wanted}).text
    )
    refused = browser.post("/sign-in", data={"key": "password", "next": wanted})
    assert 'name="next" value="/?status=failed&amp;label=team%3Dvision"' in refused.text
    answer = browser.post("/sign-in", data={"key": token.reveal(), "next": wanted})
    assert (answer.status_code, answer.headers["Location"]) == (303, wanted)


def test_only_those_who_are_signed_in_can_sign_out(browser: TestClient, token: Token) -> None:
    assert "Sign out" not in browser.get("/sign-in").text
    browser.post("/sign-in", data={"key": token.reveal()})
    assert "Sign out" in browser.get("/").text


@pytest.mark.parametrize(
    "elsewhere",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "evil",
        "/\t/evil.example",
        "/\r\nX: y",
        "javascript:1",
    ],
)
def test_the_form_leads_to_no_other_site(browser: TestClient, token: Token, elsewhere: str) -> None:
    assert 'name="next" value="/"' in browser.get("/sign-in", params={"next": elsewhere}).text
    answer = browser.post("/sign-in", data={"key": token.reveal(), "next": elsewhere})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


def test_a_key_signs_in_until_it_is_signed_out(browser: TestClient, token: Token) -> None:
    answer = browser.post("/sign-in", data={"key": token.reveal()})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert browser.get("/").status_code == 200
    assert browser.get("/jobs").json() == {"items": [], "next_cursor": None}
    browser.post("/sign-out")
    assert browser.get("/").status_code == 303


def test_the_cookie_of_a_service_behind_tls_is_for_tls_alone(browser: TestClient, token: Token) -> None:
    browser.base_url = "https://127.0.0.1"
    assert "Secure" in browser.post("/sign-in", data={"key": token.reveal()}).headers["Set-Cookie"]


def test_the_cookie_is_for_tls_alone_where_the_browser_says_that_it_uses_tls(browser: TestClient, token: Token) -> None:
    own = {"Origin": "https://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
    assert "Secure" in browser.post("/sign-in", data={"key": token.reveal()}, headers=own).headers["Set-Cookie"]


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_the_page_of_another_origin_signs_nobody_out(
    browser: TestClient, token: Token, headers: dict[str, str]
) -> None:
    browser.post("/sign-in", data={"key": token.reveal()})
    answer = browser.post("/sign-out", headers=headers)
    assert (answer.status_code, answer.headers.get("Set-Cookie")) == (403, None)
    assert browser.get("/").status_code == 200


def test_a_wrong_key_is_told_and_asked_for_again(browser: TestClient) -> None:
    answer = browser.post("/sign-in", data={"key": "password"})
    assert answer.status_code == 401
    assert "This is not an API key of this service" in answer.text
    assert "Set-Cookie" not in answer.headers


def test_the_page_of_another_origin_changes_nothing_with_the_cookie(browser: TestClient, token: Token) -> None:
    browser.post("/sign-in", data={"key": token.reveal()})
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = browser.post("/jobs/job_1/cancel", headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (403, "foreign-origin")
    own = browser.post("/jobs/job_1/cancel", headers={"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"})
    assert (own.status_code, own.json()["type"]) == (404, "unknown-job")


def test_the_page_of_another_origin_signs_nobody_in(browser: TestClient, token: Token) -> None:
    answer = browser.post("/sign-in", data={"key": token.reveal()}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


def test_a_key_in_the_header_goes_before_the_cookie(browser: TestClient, token: Token) -> None:
    browser.post("/sign-in", data={"key": token.reveal()})
    answer = browser.get("/jobs", headers={"Authorization": "Bearer nern_x"})
    assert (answer.status_code, answer.json()["type"]) == (401, "invalid-key")
