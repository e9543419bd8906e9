"""What reports about models are drawn with: a page of HTML that needs no other file, charts as SVG, pictures as PNG.

The page holds no script, and its policy lets none run.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from reportlab.graphics import renderSVG
from reportlab.graphics.shapes import Drawing, Line, Rect, String

from provisioning.batch_plots import BOLD, FONT, GREEN, GRID, INK, RED, SMALL, TITLE, WIDTH, Axis, Plot, Spread

Image = npt.NDArray[np.uint8]

BINS = 40
WIDEST = 420
ROW, NAMES, ABOVE, BELOW = 12.0, 92.0, 26.0, 14.0
CHART = 520
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#33383f;max-width:1100px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0 0 .3rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
table{border-collapse:collapse}th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #dde1e6}
th:first-child,td:first-child{text-align:left}th{font-weight:600}
figure{display:inline-block;margin:0 1rem 1rem 0;vertical-align:top}figcaption{font-size:.85rem;max-width:420px}
img{max-width:100%}p{max-width:75ch}code{font-size:.85em;overflow-wrap:anywhere}
"""
# What a machine without Helvetica takes; the drawing library names that alone.
FAMILIES = {FONT: "Helvetica, Arial, sans-serif", BOLD: "Helvetica, Arial, sans-serif; font-weight: bold"}
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True, slots=True)
class ShareBar:
    """One row of `share_bars`: a share with its bounds, all 0 to 1, and what stands behind it ("59 of 60")."""

    name: str
    share: float
    low: float
    high: float
    told: str


def page(title: str, body: Iterable[str]) -> str:
    """Return a whole HTML page. `title` is escaped here, `body` is HTML already."""
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
    )
    parts = "\n".join(body)
    shown = f"<body>\n<h1>{escape(title)}</h1>\n{parts}\n</body>"
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>{shown}</html>\n'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return an HTML table; every cell is escaped here."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    lines = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>\n<tr>{head}</tr>\n{lines}\n</table>"


def paragraph(text: str) -> str:
    """Return one paragraph of escaped text."""
    return f"<p>{escape(text)}</p>"


def chart(drawing: Drawing, alt: str) -> str:
    """Return a drawing as an SVG image inside the page."""
    svg = renderSVG.drawToString(drawing)
    for name, also in FAMILIES.items():
        svg = svg.replace(f"font-family: {name};", f"font-family: {also};")
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{escape(alt)}" width="{CHART}" src="data:image/svg+xml;base64,{data}">'


def picture(image: Image, caption: str) -> str:
    """Return a figure of an image, (H, W) or (H, W, 3) uint8 BGR, not wider than WIDEST px, with its caption below."""
    height, width = image.shape[:2]
    if width > WIDEST:
        size = (WIDEST, max(1, round(height * WIDEST / width)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    data = base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode()
    source = f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
    return f"<figure>{source}<figcaption>{escape(caption)}</figcaption></figure>"


def roc(
    scores: npt.NDArray[np.float64],
    positive: npt.NDArray[np.bool_],
    title: str,
    point: tuple[float, float] | None = None,
) -> Drawing:
    """Draw the ROC curve; larger scores speak for `positive`. Equal scores make one slanted step.

    `point` is where a threshold lies on it, as shares of good and of defective units above it.
    """
    plot = Plot(title, Axis(0.0, 1.0), Axis(0.0, 1.0), "share of good units above the threshold")
    plot.x_ticks(Axis(0.0, 1.0).ticks())
    plot.line([(0.0, 0.0), (1.0, 1.0)], GRID)
    plot.line(roc_points(scores, positive), GREEN)
    if point:
        plot.line([point], RED)
        plot.legend([("threshold of the recipe", RED)])
    return plot.drawing


def roc_points(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Return (false, true) positive shares from (0, 0) to (1, 1), one point for each distinct score."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true = np.cumsum(positive[order])[ends] / positive.sum()
    false = np.cumsum(~positive[order])[ends] / (~positive).sum()
    return [(0.0, 0.0), *zip(false.tolist(), true.tolist(), strict=True)]


def histogram(
    title: str,
    label: str,
    groups: Mapping[str, tuple[npt.NDArray[np.float64], Any]],
    mark: tuple[float, str] | None = None,
) -> Drawing:
    """Draw counts of finite values by group, name -> (values, colour), beside each other by powers of ten.

    `label` says what the values are, `mark` is a threshold and its words.
    """
    every = np.concatenate([values for values, _ in groups.values()] + [np.array([mark[0]] if mark else [])])
    low, high = (float(every.min()), float(every.max())) if every.size else (0.0, 1.0)
    room = (high - low) * 0.02 or 0.5
    edges = np.linspace(low - room, high + room, BINS + 1)
    counts = {name: np.histogram(values, edges)[0] for name, (values, _) in groups.items()}
    most = max((int(found.max()) for found in counts.values()), default=1)
    x = Axis(float(edges[0]), float(edges[-1]))
    plot = Plot(title, x, Axis(0.5, max(2, most) * 4.0, Spread.POWERS), label)
    width = (plot.x(edges[1]) - plot.x(edges[0])) / max(1, len(groups))
    for place, (name, (_, color)) in enumerate(groups.items()):
        for edge, count in zip(edges[:-1].tolist(), counts[name].tolist(), strict=True):
            if count:
                plot.column(plot.x(edge) + place * width, width, (0.5, count), color)
    plot.x_ticks(x.ticks())
    if mark:
        plot.mark(mark[0], mark[1], RED, down=len(groups))
    plot.legend([(f"{name} ({len(values)})", color) for name, (values, color) in groups.items()])
    return plot.drawing


def share_bars(title: str, rows: Sequence[ShareBar], marks: Mapping[str, float]) -> Drawing:
    """Draw shares as horizontal bars with their bounds; `marks` are shares worth a line, by their words."""
    height = ABOVE + BELOW + ROW * len(rows)
    drawing = Drawing(WIDTH, height)
    at = Axis(0.0, 1.0).scale(NAMES, WIDTH - 40)
    drawing.add(String(0, height - 8, title, fontName=BOLD, fontSize=TITLE, fillColor=INK))
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawing.add(Line(at(value), BELOW, at(value), height - ABOVE, strokeColor=GRID, strokeWidth=0.4))
        drawing.add(_small(at(value), BELOW - 8, f"{value:.0%}", "middle"))
    for words, value in marks.items():
        dashes = {"strokeColor": RED, "strokeWidth": 0.6, "strokeDashArray": [2, 2]}
        drawing.add(Line(at(value), BELOW, at(value), height - ABOVE + 2, **dashes))
        drawing.add(_small(at(value), height - ABOVE + 4, words, "middle"))
    for index, row in enumerate(rows):
        _share_bar(drawing, row, height - ABOVE - ROW * (index + 1), at)
    return drawing


def _share_bar(drawing: Drawing, row: ShareBar, bottom: float, at: Any) -> None:
    middle = bottom + ROW / 2
    drawing.add(Rect(at(0.0), bottom + 2.5, at(row.share) - at(0.0), ROW - 5, fillColor=GREEN, strokeColor=None))
    drawing.add(Line(at(row.low), middle, at(row.high), middle, strokeColor=INK, strokeWidth=0.9))
    for end in (row.low, row.high):
        drawing.add(Line(at(end), middle - 2.5, at(end), middle + 2.5, strokeColor=INK, strokeWidth=0.9))
    drawing.add(_small(NAMES - 4, middle - 2, row.name, "end"))
    drawing.add(_small(WIDTH - 36, middle - 2, row.told, "start"))


def _small(x: float, y: float, text: str, anchor: str) -> String:
    return String(x, y, text, fontName=FONT, fontSize=SMALL, fillColor=INK, textAnchor=anchor)
