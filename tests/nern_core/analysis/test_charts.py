import xml.etree.ElementTree as ET

import pytest

from nern_core.analysis.charts import Panel, Series, line_chart, line_panels

SVG = "{http://www.w3.org/2000/svg}"
LINES = [Series("first", ((1.0, 10.0), (10.0, 20.0), (100.0, 30.0))), Series("second", ((1.0, 5.0), (100.0, 5.0)))]


def draw(series: list[Series], **options: bool) -> str:
    return line_chart(series, title="A title", x_label="bytes", y_label="accuracy", **options)


def texts(drawing: str) -> list[str]:
    return ["".join(text.itertext()) for text in ET.fromstring(drawing).iter(f"{SVG}text")]


def test_a_chart_has_its_title_its_axes_and_a_legend_of_its_lines() -> None:
    assert {"A title", "bytes", "accuracy", "first", "second"} <= set(texts(draw(LINES)))


def test_a_single_line_needs_no_legend() -> None:
    assert "first" not in texts(draw(LINES[:1]))


def test_the_same_points_give_the_same_text() -> None:
    assert draw(LINES) == draw(LINES)


def test_markup_in_names_is_text() -> None:
    drawing = draw([Series("<script> $x^2$", ((0.0, 0.0),)), *LINES])
    assert "<script> $x^2$" in texts(drawing)
    assert ET.fromstring(drawing).find(f".//{SVG}script") is None


@pytest.mark.parametrize("axis", [0, 1])
def test_on_a_logarithmic_axis_equal_ratios_are_equal_distances(axis: int) -> None:
    points = tuple((value, 100.0) if axis == 0 else (100.0, value) for value in (1.0, 10.0, 100.0))
    drawing = ET.fromstring(draw([Series("powers of ten", points)], **{("log_x", "log_y")[axis]: True}))
    assert "mathdefault" not in "".join(drawing.itertext())
    # Every point has a marker.
    places = [float(use.attrib["xy"[axis]]) for use in drawing.iterfind(f".//{SVG}g[@clip-path]//{SVG}use")][:3]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1])
    assert places[0] != places[1]


def test_charts_side_by_side_share_their_axes_and_one_legend() -> None:
    panels = [Panel("left", tuple(LINES)), Panel("right", tuple(LINES))]
    drawn = texts(line_panels(panels, x_label="bytes", y_label="accuracy"))
    assert (drawn.count("left"), drawn.count("right"), drawn.count("bytes")) == (1, 1, 2)
    assert (drawn.count("accuracy"), drawn.count("first"), drawn.count("second")) == (1, 1, 1)


def test_every_line_has_a_colour_and_a_shape_of_its_own() -> None:
    lines = [Series(f"line {index}", ((0.0, 0.0), (1.0, float(index)))) for index in range(7)]
    drawing = ET.fromstring(draw(lines))
    drawn = [group for group in drawing.iter(f"{SVG}g") if group.get("id", "").startswith("line2d")]
    strokes = {
        path.get("style") for group in drawn for path in group if path.tag == f"{SVG}path" and path.get("clip-path")
    }
    assert len(strokes) >= len(lines)
