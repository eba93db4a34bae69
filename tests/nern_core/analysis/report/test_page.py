import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nern_core.analysis.baselines import DIRECT_QUANTIZATION, Alternative
from nern_core.analysis.comparison import open_comparison
from nern_core.analysis.report.files import measure_comparison
from nern_core.analysis.report.page import choose_layers, render_page
from nern_core.contract.options import EncodeOptions
from nern_core.contract.report import LayerReport, Report, SizeTrial
from nern_core.encoder import encode
from nern_core.tensors.checkpoint import read_checkpoint
from tests.conftest import DIGITS, EXAMPLE

VOID = {"meta", "img", "br", "link", "input"}


class Elements(HTMLParser):
    """Collects every element with its attributes, and checks their nesting."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def page(digits: tuple[Path, Report]) -> str:
    encoding, trained = digits
    return render_page(measure_comparison(open_comparison(EXAMPLE, encoding), trained=trained, dataset=DIGITS))


def test_the_page_needs_no_network_and_no_script(page: str) -> None:
    elements = Elements(page)
    assert not {tag for tag, _ in elements.found} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    addresses = [
        value
        for _, attributes in elements.found
        for name, value in attributes.items()
        if name in {"src", "href", "xlink:href", "srcset", "data", "action"}
    ]
    assert addresses
    assert all(str(address).startswith("data:image/svg+xml;base64,") for address in addresses)
    assert not re.search(r"url\(|@import", page)
    # The SVG namespace is the only text that looks like an address.
    assert "://" not in page.replace('xmlns="http://www.w3.org/2000/svg"', "")
    (policy,) = [m["content"] for m in elements.of("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy).startswith("default-src 'none'")


def test_the_elements_are_nested_properly(page: str) -> None:
    assert Elements(page).open == []


def test_the_page_can_be_read_without_seeing_it(page: str) -> None:
    elements = Elements(page)
    assert elements.of("html") == [{"lang": "en"}]
    assert len(elements.of("h1")) == 1
    assert all(image.get("alt") for image in elements.of("img"))
    assert all((svg.get("role"), bool(svg.get("aria-label"))) == ("img", True) for svg in elements.of("svg"))
    assert all(heading.get("scope") in {"col", "row"} for heading in elements.of("th"))
    identifiers = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))


def test_all_figures_of_the_report_are_on_the_page(digits: tuple[Path, Report], page: str) -> None:
    report = digits[1]
    metrics = report.metrics
    for number in (metrics.file_bytes, metrics.predictor_bytes, metrics.permutation_bytes, report.header_bytes):
        assert f"{number:,}" in page
    for layer in report.layers:
        assert layer.name in page
        assert f"{layer.relative_error:.4f}" in page
    for codec in ("original", "zstd", "fp16", "int8", "int6", "int4", "this encoding"):
        assert f'<th scope="row">{codec}</th>' in page
    assert "99.40 %" in page
    assert report.source_sha256 in page


def test_the_first_sentence_names_the_two_sizes_that_the_ratio_divides(digits: tuple[Path, Report], page: str) -> None:
    metrics = digits[1].metrics
    text = " ".join(page.split())
    assert f"{metrics.tensor_bytes:,} bytes of tensors in a file of {metrics.file_bytes:,} bytes: " in text
    assert f"{metrics.tensor_bytes / metrics.file_bytes:.2f} times smaller" in text


def test_an_alternative_that_is_better_is_named(digits: tuple[Path, Report]) -> None:
    comparison = measure_comparison(open_comparison(EXAMPLE, digits[0]), trained=digits[1], dataset=DIGITS)
    int8 = next(a for a in comparison.report.alternatives if a.name == "int8")
    metrics = comparison.report.metrics.model_copy(update={"file_bytes": int8.bytes, "reconstructed_accuracy": 50.0})
    report = comparison.report.model_copy(update={"metrics": metrics})
    assert report.better_alternatives == ("int8", "int6", "int4")
    page = " ".join(render_page(replace(comparison, report=report)).split())
    assert "For this checkpoint, int8 or int6 or int4 is a better choice" in page


def test_the_page_names_what_has_not_been_measured(page: str) -> None:
    text = " ".join(page.split())
    assert "Not measured here: NNCodec, the standard codec for networks" in text
    assert "; direct quantization, which takes as long as the encoding" in text


def test_the_page_says_why_a_rival_failed(digits: tuple[Path, Report]) -> None:
    failed = {DIRECT_QUANTIZATION: "Training diverged after <9> steps."}
    page = render_page(measure_comparison(open_comparison(EXAMPLE, digits[0]), failed=failed))
    assert (
        "<strong>Direct quantization could not be measured:</strong> Training diverged after &lt;9&gt; steps." in page
    )


def test_the_page_tells_the_seconds_of_the_rival_that_is_trained(digits: tuple[Path, Report]) -> None:
    comparison, tensors = open_comparison(EXAMPLE, digits[0]), read_checkpoint(EXAMPLE).tensors
    rivals = [
        Alternative(name="NNCodec qp -20", bytes=9, tensors=tensors, seconds=0.2),
        Alternative(name=DIRECT_QUANTIZATION, bytes=10, tensors=tensors, seconds=110.2),
    ]
    page = " ".join(render_page(measure_comparison(comparison, dataset=DIGITS, others=rivals)).split())
    assert "NNCodec at the finest setting whose file is no larger than this encoding." in page
    assert "through the network, here for 110 seconds." in page
    assert "NNCodec qp -20 or direct quantization is a better choice" in page
    assert "Not measured here" not in page


def test_a_quantized_encoding_has_a_page_too(tmp_path: Path) -> None:
    path = tmp_path / "q.nern"
    options = EncodeOptions(architecture="digits-cnn", dataset=str(DIGITS), target_bytes=12_000, steps=60)
    report = encode(EXAMPLE, path, options).report
    comparison = measure_comparison(open_comparison(EXAMPLE, path), trained=report, dataset=DIGITS)
    page = render_page(comparison)
    assert comparison.report.better_alternatives == ()
    assert "is a better choice" not in page
    assert f"{report.metrics.integer_bytes:,}" in page
    assert "Hidden size" not in page
    assert Elements(page).open == []


@pytest.mark.parametrize(("allowed", "reached"), [(0.8, True), (0.6, False)])
def test_the_sizes_on_the_way_are_on_the_page(digits: tuple[Path, Report], allowed: float, reached: bool) -> None:
    trials = (SizeTrial(bytes=33_333, drop=0.1), SizeTrial(bytes=22_222, drop=0.7))
    options = EncodeOptions(architecture="digits-cnn", dataset=str(DIGITS), max_drop=allowed)
    metrics = digits[1].metrics.model_copy(update={"original_accuracy": 99.4, "reconstructed_accuracy": 99.0})
    trained = digits[1].model_copy(update={"size_trials": trials, "options": options, "metrics": metrics})
    page = render_page(measure_comparison(open_comparison(EXAMPLE, digits[0]), trained=trained))
    assert '<td class="number">33,333</td><td class="number">0.10 points</td>' in page
    assert '<th scope="row">this encoding</th><td class="number">22,222</td>' in page
    assert ("more than the limit of 0.6" in page) is not reached
    assert ("This encoding loses 0.70 points" in page) is not reached
    assert Elements(page).open == []


def test_the_page_says_so_where_the_test_split_loses_more_than_was_allowed(digits: tuple[Path, Report]) -> None:
    options = EncodeOptions(architecture="digits-cnn", dataset=str(DIGITS), max_drop=0.5)
    metrics = digits[1].metrics.model_copy(update={"original_accuracy": 99.4, "reconstructed_accuracy": 98.4})
    trials = (SizeTrial(bytes=22_222, drop=0.1),)
    trained = digits[1].model_copy(update={"size_trials": trials, "options": options, "metrics": metrics})
    assert trained.costs_too_much
    page = render_page(measure_comparison(open_comparison(EXAMPLE, digits[0]), trained=trained))
    assert "This encoding loses 1.00 points" in page


def test_a_size_that_was_asked_for_was_not_searched(page: str) -> None:
    assert "Size search" not in page


def test_each_phase_has_its_curve(page: str) -> None:
    alternatives = [str(image["alt"]) for image in Elements(page).of("img")]
    assert [text.split()[4] for text in alternatives] == ["reconstruction", "distillation"]


def test_without_the_curve_the_page_says_what_is_missing(digits: tuple[Path, Report]) -> None:
    page = render_page(measure_comparison(open_comparison(EXAMPLE, digits[0])))
    assert "The files do not contain the training curve" in page
    assert "The accuracy was not measured" in page
    assert Elements(page).of("img") == []


def test_a_hostile_name_of_a_tensor_is_text_and_every_shape_has_a_picture(odd_shapes: tuple[Path, Path]) -> None:
    page = render_page(measure_comparison(open_comparison(*odd_shapes)))
    elements = Elements(page)
    assert elements.of("script") == []
    assert "&lt;script&gt;alert(&#34;d&#34;)&lt;/script&gt;" in page
    for shape in ("3 x 3", "5", "3 x 3 x 3", "16"):
        assert f"of {shape}</td>" in page.replace("\N{MULTIPLICATION SIGN}", "x")
    assert elements.open == []


def test_the_same_report_gives_the_same_page(digits: tuple[Path, Report]) -> None:
    encoding, trained = digits
    first, second = (
        render_page(measure_comparison(open_comparison(EXAMPLE, encoding), trained=trained)) for _ in range(2)
    )
    assert first == second


def test_the_first_middle_last_and_worst_layers_are_shown_once_each() -> None:
    def layers(*errors: float) -> list[LayerReport]:
        return [
            LayerReport(
                name=str(i), shape=(1, 1, 3, 3), kernels=1, kernel_shape=(3, 3), share=0.2, relative_error=error
            )
            for i, error in enumerate(errors)
        ]

    assert choose_layers(layers(0.1, 0.5, 0.2, 0.2, 0.3)) == {0: "first", 1: "worst", 2: "middle", 4: "last"}
    assert choose_layers(layers(0.1, 0.2)) == {0: "first", 1: "middle and last and worst"}
    assert choose_layers(layers(0.1)) == {0: "first and middle and last and worst"}
