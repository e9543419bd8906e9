"""report_pictures: curves say what the figures say, and a page holds nothing but what was given."""

import base64
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reportlab.graphics.shapes import Rect

from engines.rates import auroc
from provisioning.batch_plots import GREEN, RED
from provisioning.report_pictures import (
    WIDEST,
    ShareBar,
    chart,
    histogram,
    page,
    paragraph,
    picture,
    roc,
    roc_points,
    share_bars,
    table,
)

scored = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({positive for _, positive in rows}) == 2
)


def svg(html: str) -> ElementTree.Element:
    data = re.search(r'base64,([^"]*)"', html)
    assert data
    return ElementTree.fromstring(base64.b64decode(data[1]))


@given(scored)
def test_the_area_under_the_curve_is_the_auroc(rows: list[tuple[int, bool]]) -> None:
    scores, positive = (np.array(column) for column in zip(*rows, strict=True))
    points = roc_points(scores.astype(float), positive)
    assert (points[0], points[-1]) == ((0.0, 0.0), (1.0, 1.0))
    false, true = (np.array(column) for column in zip(*points, strict=True))
    assert (np.diff(false) >= 0).all()
    assert (np.diff(true) >= 0).all()
    assert np.trapezoid(true, false) == pytest.approx(auroc(scores.astype(float), positive))


def test_every_value_is_in_one_bar() -> None:
    """Bars are on a scale of powers of ten from one half: their heights give the counts back."""
    values = np.random.default_rng(2).normal(0.0, 1.0, 500)
    drawing = histogram("t", "x", {"good": (values, GREEN)}, (1.0, "limit"))
    bars = [shape for shape in drawing.contents if isinstance(shape, Rect) and shape.width > 4.5 and shape.y < 40]
    tallest = np.histogram(values, np.linspace(*_edges(values), 41))[0]
    heights = np.array([bar.height for bar in bars])
    counts = tallest[tallest > 0]
    scale = heights.max() / np.log10(counts.max() / 0.5)
    assert (0.5 * 10 ** (heights / scale)).round().astype(int).tolist() == counts.tolist()


def _edges(values: np.ndarray) -> tuple[float, float]:
    room = (values.max() - values.min()) * 0.02
    return values.min() - room, values.max() + room


@pytest.mark.parametrize("values", [[], [0.0], [3.0, 3.0]])
def test_few_or_equal_values_can_be_drawn(values: list[float]) -> None:
    assert svg(chart(histogram("t", "x", {"good": (np.array(values), RED)}), "alt")).tag.endswith("svg")


def test_charts_are_images_of_well_formed_svg() -> None:
    scores, positive = np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True])
    bars = share_bars("POD", [ShareBar("a<b", 0.5, 0.2, 0.8, "1 of 2")], {"70 %": 0.7})
    for drawing in (roc(scores, positive, "t", (0.1, 0.9)), bars):
        text = "".join(svg(chart(drawing, "<alt>")).itertext())
        assert "Helvetica-Bold" not in chart(drawing, "")
        assert ("a<b" in text) == (drawing is bars)
    assert 'alt="&lt;alt&gt;"' in chart(bars, "<alt>")


def test_a_picture_is_reduced_to_the_width_of_the_page() -> None:
    wide = picture(np.zeros((100, 2 * WIDEST), np.uint8), "a & b")
    data = re.search(r'base64,([^"]*)"', wide)
    assert data
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data[1]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert image.shape == (50, WIDEST)
    assert wide.endswith("<figcaption>a &amp; b</figcaption></figure>")


def test_a_page_is_closed_and_what_is_written_is_text() -> None:
    open_tags: list[str] = []

    class Checked(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "img"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    written = page("<title>", [paragraph("<p>"), table(("<a>", "b"), [("<c>", "d")])])
    Checked().feed(written)
    assert open_tags == []
    assert not {"<a>", "<c>"} & set(re.findall(r"<\w+>", written))
    assert written.count("&lt;title&gt;") == 2
