import pytest

from app.http.accept import prefers_html


@pytest.mark.parametrize(
    "accept",
    [
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
        "text/html",
        "TEXT/HTML ; q=0.9, application/json;q=0.5",
    ],
)
def test_a_browser_prefers_a_page(accept: str) -> None:
    assert prefers_html(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json",
        "application/json, text/html",
        "text/html;q=0.5, application/*",
        "text/html;q=0",
        "text/html;q=soon",
        "text/event-stream",
        ";;,,=q=",
    ],
)
def test_a_program_prefers_a_document(accept: str) -> None:
    assert not prefers_html(accept)
