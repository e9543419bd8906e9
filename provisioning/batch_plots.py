"""The pictures of a batch report, as vector drawings: outcomes and reject rate over time, latency tails, scores."""

import enum
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reportlab.graphics.shapes import Drawing, Line, PolyLine, Rect, String
from reportlab.lib import colors

WIDTH, HEIGHT = 252.0, 168.0
LEFT, RIGHT, BOTTOM, TOP = 36.0, 8.0, 30.0, 20.0
FONT, BOLD = "Helvetica", "Helvetica-Bold"
SMALL, TITLE = 6.5, 8.0
LATEST_MS = 120.0
ODDS_TICKS = (1e-4, 1e-2, 0.1, 0.5, 0.9, 0.99, 0.9999)
LEAST_SCORE = 1e-5
GREEN, RED, AMBER = colors.HexColor("#2e7d4f"), colors.HexColor("#b3261e"), colors.HexColor("#c98a1b")
INK, GRID = colors.HexColor("#33383f"), colors.HexColor("#dde1e6")
STAGE_COLORS = ("#2e7d4f", "#1f5fa8", "#c98a1b", "#b3261e", "#6b5aa8")

Scale = Callable[[float], float]


class Spread(enum.Enum):
    """How the values of an axis lie along it. ODDS is for scores: as much room near 0 and near 1 as between."""

    EVEN = enum.auto()
    POWERS = enum.auto()
    ODDS = enum.auto()


@dataclass(frozen=True, slots=True)
class Axis:
    """Values low..high of one axis, spread evenly, by powers of ten or by log-odds; its ticks as (value, text)."""

    low: float
    high: float
    spread: Spread = Spread.EVEN

    def scale(self, begin: float, end: float) -> Scale:
        low, high = self._at(self.low), self._at(self.high)
        return lambda value: begin + (end - begin) * (self._at(value) - low) / ((high - low) or 1)

    def ticks(self) -> Iterator[tuple[float, str]]:
        if self.spread is Spread.ODDS:
            yield from ((score, f"{score:g}") for score in ODDS_TICKS)
            return
        if self.spread is Spread.POWERS:
            powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            yield from ((10.0**power, _power(power)) for power in powers)
            return
        step = _nice((self.high - self.low) / 4)
        for index in range(math.ceil(self.low / step), math.floor(self.high / step) + 1):
            yield index * step, f"{index * step:g}"

    def _at(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        if self.spread is Spread.ODDS:
            return math.log(inside / (1 - inside))
        return math.log10(inside) if self.spread is Spread.POWERS else value


class Plot:
    """One drawing with a title, two axes and what is put between them."""

    def __init__(self, title: str, x: Axis, y: Axis, label: str, top: float = TOP) -> None:
        self.drawing = Drawing(WIDTH, HEIGHT)
        self.x, self.y = x.scale(LEFT, WIDTH - RIGHT), y.scale(BOTTOM, HEIGHT - top)
        self.top = HEIGHT - top
        self._text(0, HEIGHT - 8, title, font=BOLD)
        self._text(LEFT, 9, label)
        for value, text in y.ticks():
            self.drawing.add(Line(LEFT, self.y(value), WIDTH - RIGHT, self.y(value), strokeColor=GRID, strokeWidth=0.4))
            self._text(LEFT - 3, self.y(value) - 2, text, anchor="end")
        self.drawing.add(Line(LEFT, BOTTOM, WIDTH - RIGHT, BOTTOM, strokeColor=INK, strokeWidth=0.6))

    def x_ticks(self, ticks: Iterator[tuple[float, str]]) -> None:
        for value, text in ticks:
            self.drawing.add(Line(self.x(value), BOTTOM, self.x(value), BOTTOM - 2, strokeColor=INK, strokeWidth=0.4))
            self._text(self.x(value), BOTTOM - 9, text, anchor="middle")

    def bar(self, left: float, right: float, span: tuple[float, float], color: Any) -> None:
        self.column(self.x(left), max(0.4, self.x(right) - self.x(left)), span, color)

    def column(self, begin: float, width: float, span: tuple[float, float], color: Any) -> None:
        """A bar whose place along the axis is already in points."""
        low, high = self.y(span[0]), self.y(span[1])
        self.drawing.add(Rect(begin, low, width, max(0.0, high - low), fillColor=color, strokeColor=None))

    def line(self, points: Sequence[tuple[float, float]], color: Any) -> None:
        flat = [place for x, y in points for place in (self.x(x), self.y(y))]
        if len(points) > 1:
            self.drawing.add(PolyLine(flat, strokeColor=color, strokeWidth=0.9))
        for x, y in points if len(points) <= 2 else points[-1:]:
            self.drawing.add(Rect(self.x(x) - 1, self.y(y) - 1, 2, 2, fillColor=color, strokeColor=None))

    def mark(self, value: float, text: str, color: Any, down: int = 0) -> None:
        """A dashed line across, with its meaning beside it."""
        at, top = self.x(value), self.top
        self.drawing.add(Line(at, BOTTOM, at, top, strokeColor=color, strokeWidth=0.7, strokeDashArray=[2, 2]))
        beside, anchor = (at - 3, "end") if at > WIDTH / 2 else (at + 3, "start")
        self._text(beside, top - 6 - 8 * down, text, anchor=anchor, color=color)

    def legend(self, names: Sequence[tuple[str, Any]]) -> None:
        right = WIDTH - RIGHT
        for index, (name, color) in enumerate(names):
            at = HEIGHT - TOP - 5 - 8 * index
            self._text(right - 9, at, name, anchor="end")
            self.drawing.add(Rect(right - 6, at, 5, 4, fillColor=color, strokeColor=None))

    def legend_row(self, names: Sequence[tuple[str, Any]]) -> None:
        """A legend above the drawing, three names to a row, where lines may go anywhere below."""
        for index, (name, color) in enumerate(names):
            at, row = LEFT + (WIDTH - LEFT) / 3 * (index % 3), HEIGHT - 18 - 8 * (index // 3)
            self.drawing.add(Rect(at, row, 5, 4, fillColor=color, strokeColor=None))
            self._text(at + 8, row, name)

    def _text(
        self, x: float, y: float, text: str, *, font: str = FONT, anchor: str = "start", color: Any = INK
    ) -> None:
        size = TITLE if font == BOLD else SMALL
        self.drawing.add(String(x, y, text, fontName=font, fontSize=size, fillColor=color, textAnchor=anchor))


def outcomes(plots: Mapping[str, Any]) -> Drawing:
    """Units per bucket, what was accepted below what was not."""
    found = plots["over_time"]
    buckets, length = found["buckets"], found["bucket_s"]
    most = max((_accepted(row) + _others(row) for row in buckets), default=1)
    title = f"Units every {_length(length)}"
    plot = Plot(title, Axis(0, max(1, len(buckets))), Axis(0, most * 1.25), "UTC")
    for index, row in enumerate(buckets):
        good, all_of_it = _accepted(row), _accepted(row) + _others(row)
        plot.bar(index + 0.08, index + 0.92, (0, good), GREEN)
        plot.bar(index + 0.08, index + 0.92, (good, all_of_it), RED)
    plot.x_ticks(_clock_ticks(buckets))
    plot.legend([("accepted", GREEN), ("not accepted", RED)])
    return plot.drawing


def reject_rate(plots: Mapping[str, Any]) -> Drawing:
    """Share of units not accepted, bucket by bucket; without units there is no point."""
    found = plots["over_time"]
    rates = [
        (index + 0.5, 100 * _others(row) / (_accepted(row) + _others(row)))
        for index, row in enumerate(found["buckets"])
        if _accepted(row) + _others(row)
    ]
    most = max((rate for _, rate in rates), default=1.0)
    x = Axis(0, max(1, len(found["buckets"])))
    title = f"Not accepted, %, every {_length(found['bucket_s'])}"
    plot = Plot(title, x, Axis(0, min(110.0, max(1.0, most * 1.2))), "UTC")
    plot.line(rates, RED)
    plot.x_ticks(_clock_ticks(found["buckets"]))
    return plot.drawing


def latency(plots: Mapping[str, Any]) -> Drawing:
    """For every stage the share of units that took at least so long, both axes by powers of ten."""
    tails = {stage: points for stage, points in plots["latency_tail_ms"].items() if points}
    every = [point for points in tails.values() for point in points]
    least = max(1e-3, min((ms for ms, _ in every), default=1.0))
    most = max(LATEST_MS * 1.3, max((ms for ms, _ in every), default=1.0) * 1.3)
    rarest = min((share for _, share in every), default=0.1)
    x = Axis(least / 1.3, most, Spread.POWERS)
    plot = Plot(
        "Latency tail: share of units that took at least ...", x, Axis(rarest / 2, 1.6, Spread.POWERS), "ms", 32
    )
    plot.x_ticks(x.ticks())
    plot.mark(LATEST_MS, "120 ms", RED)
    names = []
    for (stage, points), color in zip(tails.items(), STAGE_COLORS, strict=False):
        plot.line([(max(least, ms), share) for ms, share in points], colors.HexColor(color))
        names.append((stage.replace("_", " "), colors.HexColor(color)))
    plot.legend_row(names)
    return plot.drawing


def scores(plots: Mapping[str, Any]) -> Drawing:
    """Units by the score that decided, counts by powers of ten, with the recipe's tightest limits where known."""
    found = plots["deciding_score"]
    edges = found["edges"]
    most = max([*found["accepted"], *found["not_accepted"], 1])
    x = Axis(LEAST_SCORE, 1 - LEAST_SCORE, Spread.ODDS)
    plot = Plot("Units by the score that decided", x, Axis(0.5, most * 4, Spread.POWERS), "score, by log-odds")
    for index, (good, bad) in enumerate(zip(found["accepted"], found["not_accepted"], strict=True)):
        left, right = plot.x(edges[index]), plot.x(edges[index + 1])
        for count, begin, color in ((good, left, GREEN), (bad, (left + right) / 2, RED)):
            if count:
                plot.column(begin, (right - left) / 2, (0.5, count), color)
    plot.x_ticks(x.ticks())
    for down, (key, text, color) in enumerate(
        (("lowest_accept_below", "lowest accept below", AMBER), ("lowest_reject_from", "lowest reject from", RED))
    ):
        if found[key] is not None:
            plot.mark(found[key], f"{text} {found[key]:g}", color, down)
    return plot.drawing


def _accepted(row: Mapping[str, Any]) -> int:
    return int(row["accepted"])


def _others(row: Mapping[str, Any]) -> int:
    return sum(count for name, count in row.items() if name not in ("utc", "accepted"))


def _clock_ticks(buckets: Sequence[Mapping[str, Any]]) -> Iterator[tuple[float, str]]:
    step = max(1, math.ceil(len(buckets) / 6))
    for index in range(0, len(buckets), step):
        clock = buckets[index]["utc"][11:19]
        yield index, clock


def _length(seconds: int) -> str:
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min"


def _power(power: int) -> str:
    return f"{10.0**power:g}" if -4 < power < 5 else f"1e{power}"


def _nice(step: float) -> float:
    """Return 1, 2 or 5 times a power of ten, at least `step`."""
    if step <= 0:
        return 1.0
    base = 10.0 ** math.floor(math.log10(step))
    return next(base * factor for factor in (1, 2, 5, 10) if base * factor >= step * 0.999)
