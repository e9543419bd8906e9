"""The audit trail on paper: A4 across, the title block first, then one line for each act and alarm."""

import io
import re
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, LongTable, Paragraph, SimpleDocTemplate, Spacer, Table

from provisioning.audit_text import COLUMNS, HOW, AuditTrail, Happening, cells, title_lines

PAGE = landscape(A4)
MARGIN, FOOT = 12 * mm, 12 * mm
WIDTH = PAGE[0] - 2 * MARGIN
SHARES = (11, 6.5, 10, 8, 7, 12, 18, 15, 7.5, 5)
ROWS_IN_TABLE = 400
SIZE = (6.6, 8.2)
INK, QUIET = colors.HexColor("#22262b"), colors.HexColor("#6a7078")
RULE, BAND, AMBER = colors.HexColor("#c9ced4"), colors.HexColor("#f1f3f5"), colors.HexColor("#fff8ec")
RED = colors.HexColor("#b3261e")
CHINESE = "STSong-Light"

_BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=8, leading=10.5, textColor=INK)
_CELL = ParagraphStyle("cell", _BODY, fontSize=SIZE[0], leading=SIZE[1], splitLongWords=True)
_REFUSED = ParagraphStyle("refused", _CELL, textColor=RED)
_HEAD = ParagraphStyle("head", _CELL, textColor=QUIET)
_TITLE = ParagraphStyle("title", fontName="Helvetica-Bold", fontSize=16, leading=20, textColor=INK)
_CHINESE = re.compile(r"([\u2e80-\u9fff\uff00-\uffef]+)")
_GRID = [
    ("LINEBELOW", (0, 0), (-1, -1), 0.25, RULE),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("TOPPADDING", (0, 0), (-1, -1), 1.4),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
    ("LEFTPADDING", (0, 0), (-1, -1), 2),
    ("RIGHTPADDING", (0, 0), (-1, -1), 2),
]


def to_pdf(trail: AuditTrail) -> bytes:
    """Return the document as a PDF file; the same document gives the same bytes."""
    pdfmetrics.registerFont(UnicodeCIDFont(CHINESE))
    buffer = io.BytesIO()
    name = f"Audit trail {trail.title.batch or trail.title.station}"
    document = SimpleDocTemplate(
        buffer, pagesize=PAGE, leftMargin=MARGIN, rightMargin=MARGIN, topMargin=MARGIN, bottomMargin=FOOT + 6 * mm,
        title=name, author=f"Linewarden {trail.title.release}", invariant=1, initialFontName="Helvetica",
    )  # fmt: skip
    document.build(_story(trail, name), canvasmaker=_numbered(f"{name} · root {trail.title.root[:16]}… · times UTC"))
    return buffer.getvalue()


def marked(text: str) -> str:
    """Return text for a paragraph: Latin as it is, Chinese in its own font, what no font has as its code point."""
    runs = _CHINESE.split("".join(letter if letter.isprintable() else " " for letter in text))
    for index in range(1, len(runs), 2):
        runs[index] = f'<font name="{CHINESE}">{runs[index]}</font>'
    runs[::2] = [escape("".join(map(_latin, run))) for run in runs[::2]]
    return "".join(runs)


def _latin(letter: str) -> str:
    if letter == "\N{RIGHTWARDS ARROW}":
        return "->"
    try:
        letter.encode("cp1252")
    except UnicodeEncodeError:
        return f"U+{ord(letter):04X} "
    return letter


def _story(trail: AuditTrail, name: str) -> list[Flowable]:
    about = [[Paragraph(marked(key), _HEAD), Paragraph(marked(value), _BODY)] for key, value in title_lines(trail)]
    parts: list[Flowable] = [Paragraph(marked(name), _TITLE), Table(about, colWidths=[90, WIDTH - 90], style=_GRID)]
    parts += [Spacer(1, 4), Paragraph(marked(HOW), _HEAD), Spacer(1, 6)]
    starts = range(0, max(1, len(trail.happenings)), ROWS_IN_TABLE)
    return parts + [_table(trail.happenings[start : start + ROWS_IN_TABLE]) for start in starts]


def _table(items: list[Happening]) -> LongTable:
    widths = [WIDTH * share / sum(SHARES) for share in SHARES]
    rows: list[list[Any]] = [[Paragraph(marked(column), _HEAD) for column in COLUMNS]]
    rows += [[_cell(text, width, item) for text, width in zip(cells(item), widths, strict=True)] for item in items]
    style = [*_GRID, ("BACKGROUND", (0, 0), (-1, 0), BAND), ("FONT", (0, 1), (-1, -1), "Helvetica", *SIZE)]
    for row, item in enumerate(items, 1):
        if item.kind == "alarm":
            style.append(("BACKGROUND", (0, row), (-1, row), AMBER))
        if not item.done:
            style.append(("TEXTCOLOR", (0, row), (-1, row), RED))
    return LongTable(rows, colWidths=widths, repeatRows=1, splitInRow=1, style=style)


def _cell(text: str, width: float, item: Happening) -> str | Paragraph:
    """Return a cell; a paragraph, which costs a hundred times as much, only where one line of Latin will not do."""
    if text.isascii() and text.isprintable() and pdfmetrics.stringWidth(text, "Helvetica", SIZE[0]) <= width - 5:
        return text
    return Paragraph(marked(text), _CELL if item.done else _REFUSED)


def _numbered(left: str) -> type[Canvas]:
    """Return a canvas that writes `page n of m` once it knows m."""

    class Numbered(Canvas):  # type: ignore[misc]  # reportlab has no types
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._pages: list[dict[str, Any]] = []

        def showPage(self) -> None:
            self._pages.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, page in enumerate(self._pages, 1):
                self.__dict__.update(page)
                _foot(self, left, f"page {number} of {len(self._pages)}")
                super().showPage()
            super().save()

    return Numbered


def _foot(canvas: Canvas, left: str, right: str) -> None:
    canvas.setFillColor(QUIET)
    canvas.setStrokeColor(RULE)
    canvas.line(MARGIN, FOOT, PAGE[0] - MARGIN, FOOT)
    foot = Paragraph(marked(left), _HEAD)
    foot.wrap(WIDTH - 80, 20)
    foot.drawOn(canvas, MARGIN, FOOT - 10)
    canvas.setFont("Helvetica", 7)
    canvas.drawRightString(PAGE[0] - MARGIN, FOOT - 9, right)
